"""Scores of findings against labels: how well they rank, and where they can be chosen, what they decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.classification import size_terciles
from medvlp.evaluation.evaluation import Evaluation, title_of
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._label_sets import label_sets
from medvlp.statistics.metrics import auroc, average_precision

_SIZE = "group:size@"
_POINTS = {"auroc": auroc, "average_precision": average_precision}


class Classification(Measure):
    """One result for each answer that gives scores of findings, named as the answer.

    AUROC and average precision with intervals, by groups; thresholds, calibrations and conformal sets that are chosen
    on the pictures of `EvaluationOptions.fit`. While a model trains ``auroc/LABEL``, ``average_precision/LABEL`` and
    their means ``/macro``, of findings of which both classes are there.

    Args:
        label_sets: name -> findings: each answer also has a result ``ANSWER_NAME`` over these alone, whose macro
            average is then of them.

    Example:
        >>> from pathlib import Path
        >>> said = Predictions(("a", "b"), scores={"edema": np.array([0.1, 0.9]), "hernia": np.array([0.2, 0.3])})
        >>> cohort = Manifest.of({"id": ["a", "b"], "text": ["", ""], "label.edema": [0.0, 1.0]}, root=Path("."))
        >>> Classification().values(said, cohort)["auroc/macro"]
        1.0
    """

    reads: ClassVar[frozenset[str]] = frozenset({"scores"})
    points: ClassVar[tuple[str, ...]] = tuple(_POINTS)
    order: ClassVar[int] = 10

    def __init__(self, *, label_sets: dict[str, list[str]] | None = None) -> None:
        self.label_sets: Mapping[str, list[str]] = label_sets or {}

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return each metric by label, and its mean; findings without labels of both classes are left out."""
        found: dict[str, dict[str, float]] = {name: {} for name in _POINTS}
        for label, scores in (said.scores or {}).items():
            if f"label.{label}" not in cohort:
                continue
            truth = np.asarray(cohort.column(f"label.{label}"), dtype=np.float64)
            known = np.isin(truth, (0.0, 1.0)) & np.isfinite(scores)
            if 0 < truth[known].sum() < known.sum():
                for name, metric in _POINTS.items():
                    found[name][label] = float(metric(truth[known], scores[known]))
        values = {f"{name}/{label}": value for name, each in found.items() for label, value in each.items()}
        return values | {f"{name}/macro": float(np.mean(list(each.values()))) for name, each in found.items() if each}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the scores of each answer, and those of each label set."""
        groups, validation = group_columns(evaluation), evaluation.validation
        for name, answer, said in evaluation.giving("scores"):
            scores, title = said.scores or {}, title_of(name, answer)
            if not any(f"label.{label}" in evaluation.manifest for label in scores):
                continue
            held = None if validation is None else evaluation.predictions(name, validation)
            chosen_on = None if held is None else held.scores
            other = {f"{_SIZE}{label}" for label in evaluation.labels if label not in scores}
            own = {column: values for column, values in groups.items() if column not in other}
            yield evaluation.scores(name, scores, title, groups=own, chosen_on=chosen_on, notes=said.notes)
            for own, some, missing in label_sets(self.label_sets, scores, evaluation.manifest):
                notes = (*missing, *said.notes)
                yield evaluation.scores(f"{name}_{own}", some, f"{title}, {own}", notes=notes)


def group_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Return columns ``group:NAME`` of what is measured: those that are asked for, and terciles of ``size.FINDING``."""
    manifest = evaluation.judged.manifest
    groups: dict[str, Any] = {f"group:{n}": manifest.column(n) for n in evaluation.options.groups if n in manifest}
    for label in evaluation.labels:
        if f"size.{label}" in manifest:
            sizes = np.asarray(manifest.column(f"size.{label}"), dtype=float)
            # A positive of unknown size is in no third.
            positive = (np.asarray(manifest.column(f"label.{label}"), dtype=float) == 1) & (sizes > 0)
            if len(np.unique(sizes[positive])) >= 3:
                groups[f"{_SIZE}{label}"] = size_terciles(sizes, positive)
    return groups
