"""Numbers without intervals, of the answers of a model in training: what validation logs and what chooses the best."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from medvlp.core.answers import Answer
from medvlp.core.errors import ConfigError
from medvlp.core.predictions import Predictions
from medvlp.core.registry import available, build, component
from medvlp.core.suggest import did_you_mean
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


def check_choice(choose: str, answers: Mapping[str, Answer]) -> None:
    """Refuse a choice of the best checkpoint that no answer of the model gives.

    Args:
        choose: ``ANSWER/METRIC[/LABEL]``.
        answers: by name.

    Raises:
        ConfigError: naming what there is to choose by.
    """
    name, _, rest = choose.partition("/")
    metric, _, label = rest.partition("/")
    if name not in answers:
        raise ConfigError(
            f"evaluation.choose is {choose!r}, and no objective teaches {name!r}: {did_you_mean(name, answers)}."
        )
    metrics = _metrics(answers[name])
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


def first_choice(answers: Mapping[str, Answer], fields: Collection[str]) -> str | None:
    """Return what chooses the best checkpoint where nobody says: the first metric of the first answer that has one.

    Args:
        answers: by name.
        fields: of the data; an answer about findings that the data has no labels of is passed over.
    """
    for name, answer in answers.items():
        if answer.labels and not any(f"{kind}.{label}" in fields for label in answer.labels for kind in _TRUTH):
            continue
        for metric in _metrics(answer):
            return f"{name}/{metric}/macro" if answer.labels else f"{name}/{metric}"
    return None


def _metrics(answer: Answer) -> list[str]:
    return [point for measure in _with_points() if measure.suits(answer) for point in measure.points]


def _with_points(options: Options = _USUAL) -> Iterator[Measure]:
    for name in available("measures"):
        made: Any = component("measures", name)
        if made.points:  # one without may have options that it cannot be without
            yield build("measures", {"name": name, **(options.get(name) or {})}, where=f"evaluation.measures.{name}")
