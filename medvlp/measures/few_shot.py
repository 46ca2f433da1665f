"""Probes of a few patients of each class, drawn many times, on the features and on thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.few_shot import fit_few_shot
from medvlp.evaluation.few_shot_results import evaluate_few_shot
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._probe_tables import ProbeTables, can_probe, deep_tables, labels_of, thumbnail_tables


class FewShotProbes(Measure):
    """Linear classifiers on frozen features from a few training patients, see `medvlp.evaluation.few_shot`.

    Args:
        shots: patients with a finding, and as many without.
        draws: how many times they are drawn; their numbers are averaged.

    Example:
        >>> FewShotProbes(draws=3).shots
        (1, 2, 4, 8, 16)
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 72

    def __init__(
        self,
        *,
        shots: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16),
        draws: Annotated[int, Field(ge=2)] = 10,
    ) -> None:
        self.shots, self.draws = shots, draws

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the few-shot probe and its control; nothing where the split is judged that they are made of.

        Raises:
            DataError: if the data lacks a split to draw from or to choose on.
        """
        if evaluation.options.split in ("train", "validate"):  # a sweep may report such a split beside the test
            return
        if not can_probe(evaluation):
            raise DataError(
                "evaluation.measures.few_shot draws from the split train and chooses on validate, with labels and "
                f"pictures, and the data has the splits {', '.join(sorted(evaluation.splits)) or 'none'}: name a split "
                "rule (held_out makes a validate of some training patients), or leave it out."
            )
        yield self._result(evaluation, "few_shot", "Few shots", deep_tables(evaluation), control=False)
        about = "Control: few shots of 16 x 16 thumbnails"
        if evaluation.shows:
            yield self._result(evaluation, "few_shot_thumbnail", about, thumbnail_tables(evaluation), control=True)

    def _result(self, evaluation: Evaluation, name: str, title: str, tables: ProbeTables, *, control: bool) -> Result:
        seed = evaluation.options.seed
        few = fit_few_shot(tables.train, tables.validation, shots=self.shots, draws=self.draws, seed=seed)
        manifest = evaluation.judged.manifest
        return evaluate_few_shot(
            few.scores(tables.measured),
            labels_of(evaluation, manifest),
            manifest.column("id.patient").tolist(),
            manifest.column("id").tolist(),
            min_positives=evaluation.options.min_positives,
            name=name,
            title=title,
            role="control" if control else "model",
            caveats=[reason for found in few.left_out.values() for reason in found.values()],
            **evaluation.facts,
        )
