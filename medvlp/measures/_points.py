"""Which measures an evaluation makes, and what they say of the answers of a model in training, without intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from medvlp.core.answers import Answer
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.predictions import Predictions
from medvlp.core.registry import available, build, component, schema
from medvlp.data.manifest import Manifest
from medvlp.evaluation.measure import Measure

Options = Mapping[str, Mapping[str, Any] | None]

_USUAL: Options = {}

_TRUTH = ("label", "boxes", "mask")  # kinds of fields that say what is true of a finding


def point_values(
    name: str, answer: Answer, said: Predictions, cohort: Manifest, *, options: Options = _USUAL
) -> dict[str, float]:
    """Return ``ANSWER/METRIC`` or ``ANSWER/METRIC/LABEL`` -> value, by every measure that reads what was said.

    Args:
        name: of the answer.
        answer: itself.
        said: by it, a row a record.
        cohort: the records; boxes of findings that the answer does not name are no miss of it.
        options: of measures by name, as `EvaluationConfig.measures` has them; one that the final evaluation leaves out
            is measured as usual here.
    """
    others = [n for n in cohort.names_of("boxes") if answer.labels and n.partition(".")[2] not in answer.labels]
    cohort = cohort.without(*others) if others else cohort
    return {
        f"{name}/{metric}": value
        for measure in _with_points(options)
        if measure.suits(answer)
        for metric, value in measure.values(said, cohort).items()
    }


def check_choice(choose: str, answers: Mapping[str, Answer], *, options: Options = _USUAL) -> None:
    """Refuse a choice of the best checkpoint that no answer of the model gives.

    Args:
        choose: ``ANSWER/METRIC[/LABEL]``.
        answers: by name.
        options: as of `point_values`.

    Raises:
        ConfigError: naming what there is to choose by.
    """
    name, _, rest = choose.partition("/")
    metric, _, label = rest.partition("/")
    if name not in answers:
        raise ConfigError(
            f"evaluation.choose is {choose!r}, and no objective teaches {name!r}: {did_you_mean(name, answers)}; or "
            "set it to null, or add that answer under `answers`."
        )
    metrics = [point for each in _with_points(options) if each.suits(answers[name]) for point in each.points]
    if metric not in metrics:
        raise ConfigError(
            f"evaluation.choose is {choose!r}, and the answer {name!r} is measured by no {metric!r} while training: "
            f"{did_you_mean(metric, metrics)}."
        )
    labels = answers[name].labels
    if label and label != "macro" and labels and label not in labels:
        raise ConfigError(
            f"evaluation.choose is {choose!r}, and {name!r} names no finding {label!r}: {did_you_mean(label, labels)}."
        )


def first_choice(answers: Mapping[str, Answer], fields: Collection[str], *, options: Options = _USUAL) -> str | None:
    """Return what chooses the best checkpoint where nobody says: the first metric of the first answer that has one.

    Of the usual measures, in their order.

    Args:
        answers: by name.
        fields: of the data; an answer about findings that the data has no labels of is passed over.
        options: as of `point_values`.
    """
    for name, answer in answers.items():
        if answer.labels and not any(f"{kind}.{label}" in fields for label in answer.labels for kind in _TRUTH):
            continue
        suited = (each for each in _with_points(options) if each.usual and each.suits(answer))
        for measure in sorted(suited, key=lambda each: each.order):
            return f"{name}/{measure.points[0]}/macro" if answer.labels else f"{name}/{measure.points[0]}"
    return None


def _with_points(options: Options = _USUAL) -> Iterator[Measure]:
    """Measures that have points: those with options that somebody gives, and usual ones that need none."""
    for name in available("measures"):
        made: Any = component("measures", name)
        given = options.get(name)
        bare = not any(field.is_required() for field in schema("measures", name).model_fields.values())
        if made.points and (given is not None or (made.usual and bare)):
            yield build("measures", {"name": name, **(given or {})}, where=f"evaluation.measures.{name}")


def chosen_measures(spec: Mapping[str, Mapping[str, Any] | None]) -> list[Measure]:
    """Return the measures of an evaluation, in the order in which they are made.

    Args:
        spec: name -> options: of a measure that is made unasked, or of one that is not, which adds it; None leaves it
            out.

    Raises:
        ConfigError: for an unknown name or a faulty option, all faults at once.
    """
    known = available("measures")
    faults = [
        f"evaluation.measures has no measure named {name!r}: {did_you_mean(name, known)}."
        for name in spec
        if name not in known
    ]
    usual = {name: {} for name in known if component("measures", name).usual}  # pyrefly: ignore
    made = []
    for name, options in {**usual, **spec}.items():
        if name not in known or options is None:
            continue
        try:
            made.append((name, build("measures", {"name": name, **options}, where=f"evaluation.measures.{name}")))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError(" ".join(faults))
    return [measure for name, measure in sorted(made, key=lambda each: (each[1].order, each[0]))]
