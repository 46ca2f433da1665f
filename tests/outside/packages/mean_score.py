"""A measure in one file, as somebody outside medvlp would write it."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Counts, Metric, Result


class MeanScore(Measure):
    """Mean of the scores of a finding."""

    reads = frozenset({"scores"})
    points = ("mean_score",)
    order = 5

    def __init__(self, *, finding: str = "effusion") -> None:
        self.finding = finding

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        return {f"mean_score/{self.finding}": float(said.scores[self.finding].mean())}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        for name, _, said in evaluation.giving("scores"):
            (value,) = self.values(said, evaluation.judged.manifest).values()
            row = Metric(
                metric="mean_score", label=self.finding, value=value, counts=Counts(n=len(said.ids), patients=1)
            )
            yield Result(name=f"{name}_mean_score", metrics=(row,))
