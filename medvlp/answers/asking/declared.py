"""From what objectives declare and a configuration says to answers, and from answers to what a bundle keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from medvlp.core.answers import Answer
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import AnswerSpec, Model, Objective
from medvlp.core.registry import available, build, schema
from medvlp.models.bundle import StoredAnswer
from medvlp.models.pretrained_head import misfits


@dataclass(frozen=True)
class Declared:
    """An answer of a model in training.

    Attributes:
        name: under which it is asked.
        component: of `medvlp.answers`.
        answer: itself.
        score: component of the score by which it compares, with its options.
        module: that score as it is trained.
    """

    name: str
    component: str
    answer: Answer
    score: Mapping[str, object] | None = None
    module: nn.Module | None = None


def declared_by(objectives: Iterable[Objective]) -> dict[str, AnswerSpec]:
    """Return what objectives declare, by name; of two with one name the first counts."""
    found: dict[str, AnswerSpec] = {}
    for objective in objectives:
        for spec in objective.answers():
            found.setdefault(spec.alias or spec.name, spec)
    return found


def declare(
    phases: Sequence[Iterable[Objective]], overrides: Mapping[str, Mapping[str, Any] | None], model: Model
) -> dict[str, Declared]:
    """Return the answers of a recipe: those that its objectives teach, the last phase first, changed by `overrides`.

    Args:
        phases: objectives of each phase.
        overrides: name -> further options, None to leave the answer out; a name that no objective declares is a new
            answer: the component of that name, or of its option ``name``.
        model: which is asked.

    Raises:
        ConfigError: for a faulty option, an answer that the model cannot give or a bundle could not make again, or one
            that reads what no term trains.
    """
    found: dict[str, AnswerSpec] = {}
    for objectives in reversed(phases):
        for name, spec in declared_by(objectives).items():
            found.setdefault(name, spec)
    taught = frozenset(found)
    for name, options in overrides.items():
        if options is None:
            found.pop(name, None)
            continue
        own = found.get(name) or AnswerSpec(str(options.get("name", name)), alias=name)
        more = {key: value for key, value in options.items() if key != "name"}
        found[name] = AnswerSpec(own.name, {**own.options, **more}, name, own.score, own.module)
    made = {name: _made(name, spec) for name, spec in found.items()}
    trained = {key for objectives in phases for objective in objectives for key in objective.needs()}
    for name, each in made.items():
        each.answer.check(model)
        _refuse_unreleased(each)
        if name not in taught:
            _refuse_untrained(name, each.answer, model, {(key.view, _base(key.part)) for key in trained if not key.who})
    return made


def check_overrides(overrides: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Refuse wrong answer options of a configuration before a model exists, such as a missing file.

    Raises:
        ConfigError: naming the file or the option.
    """
    for name, options in overrides.items():
        spec = {"name": name, **(options or {})}
        component = schema("answers", str(spec["name"])) if spec["name"] in available("answers") else None
        required = {} if component is None else component.model_fields
        if (
            options is not None
            and component is not None
            and all(not each.is_required() or key in options for key, each in required.items())
        ):
            build("answers", spec, where=f"answers.{name}")


def _made(name: str, spec: AnswerSpec) -> Declared:
    return Declared(name, spec.name, _built(name, spec.name, spec.options, spec.module), spec.score, spec.module)


def _built(name: str, component: str, options: Mapping[str, object], score: nn.Module | None) -> Answer:
    given = {} if score is None else {"score": score}
    return build("answers", {"name": component, **options}, where=f"answers.{name}", given=given)


def _base(part: str) -> str:
    return "raw" if part == "embedding" else part


def _refuse_untrained(name: str, answer: Answer, model: Model, trained: set[tuple[str, str]]) -> None:
    kinds = {(view.partition(".")[0], part) for view, part in trained}
    for key in sorted(answer.needs(model)):
        head = f"{key.view}/{_base(key.part)}"
        if key.part and head in model.heads and (key.view.partition(".")[0], _base(key.part)) not in kinds:
            raise ConfigError(
                f"answers.{name} reads {str(key)!r}, which no term of the recipe trains: leave it out, or add an "
                "objective that needs it."
            )


def _refuse_unreleased(declared: Declared) -> None:
    """Make an answer again from what it would release: after hours of training nobody wants to learn that none can."""
    try:
        options = json.loads(json.dumps(dict(declared.answer.released())))
        _built(declared.name, declared.component, options, declared.module)
    except (ConfigError, TypeError) as error:
        raise ConfigError(
            f"answers.{declared.name}: a bundle could not make {declared.component!r} again from its released() "
            f"({str(error).rstrip('.')}): let that return the options of its constructor as plain data."
        ) from None


def stored_answer(declared: Declared) -> StoredAnswer:
    """Return what a bundle keeps of an answer, once the model is trained."""
    module = declared.module
    return StoredAnswer(
        name=declared.name,
        component=declared.component,
        options=dict(declared.answer.released()),
        labels=tuple(declared.answer.labels),
        score=declared.score,
        weights={} if module is None else {n: t.detach().clone() for n, t in module.state_dict().items()},
    )


def open_answer(stored: StoredAnswer) -> Answer:
    """Build an answer of a bundle, with its score.

    Raises:
        ConfigError: for a component that is not installed here.
        UserError: if the weights of its score do not fit.
    """
    score: nn.Module | None = None
    if stored.score is not None:
        made: nn.Module = build("models/scores", stored.score, where=f"answers.{stored.name}.score")
        if misfits(made.state_dict(), stored.weights):
            raise UserError(
                f"The weights of the score of the answer {stored.name!r} are missing or of another shape: get the "
                "bundle again."
            )
        made.load_state_dict(dict(stored.weights))
        score = made.eval()
    return _built(stored.name, stored.component, stored.options, score)


def open_answers(stored: Sequence[StoredAnswer]) -> dict[str, Answer]:
    """Build all answers of a bundle, in its order."""
    return {each.name: open_answer(each) for each in stored}
