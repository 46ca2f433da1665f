"""A classifier of findings and a way to judge it, as somebody outside medvlp would write them: this file is all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Counts, Metric, Result


class FindingLabels(Objective):
    """Binary cross entropy of a linear head with labels; those that are neither 0 nor 1 take no part."""

    scope = "sample"

    def __init__(self, *, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels

    def needs(self) -> frozenset[Key]:
        return keys("image/findings", *(f"label.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"image/findings": HeadSpec("linear", {"classes": len(self.labels)}, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        return (AnswerSpec("findings", {"labels": self.labels}),)

    def forward(self, ctx: Context) -> Terms:
        logits = ctx["image/findings"]
        rows = [ctx.rows(f"label.{label}", "image/findings").one() for label in self.labels]
        truth = torch.stack(rows, dim=1).to(logits)
        known = (truth == 0) | (truth == 1)
        loss = functional.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
        return {"labels": Term.of(loss.flatten(), known.flatten().to(logits))}


class Informedness(Measure):
    """Sensitivity + specificity - 1 of scores of at least one half."""

    reads = frozenset({"scores"})
    points = ("informedness",)

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        found = {label: _informedness(v, cohort, label) for label, v in (said.scores or {}).items()}
        return {f"informedness/{label}": value for label, value in found.items() if np.isfinite(value)}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        for name, _, said in evaluation.giving("scores"):
            cohort = evaluation.judged.manifest
            rows = [
                Metric(
                    metric="informedness",
                    label=label.partition("/")[2],
                    value=value,
                    counts=Counts(n=len(said.ids), patients=1),
                )
                for label, value in self.values(said, cohort).items()
            ]
            yield Result(name=f"{name}_informedness", metrics=tuple(rows))


def _informedness(scores: np.ndarray, cohort: Manifest, label: str) -> float:
    truth = np.asarray(cohort.column(f"label.{label}"), dtype=np.float64)
    called = scores >= 0.5
    if not ((truth == 1).any() and (truth == 0).any()):
        return float("nan")
    return float(called[truth == 1].mean() - called[truth == 0].mean())
