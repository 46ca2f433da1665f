"""Left against right: which side a unilateral finding is said to be on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pandas as pd

from medvlp.core.answers import Rows
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result


class Laterality(Measure):
    """score(left X) - score(right X) on unilateral positives of all findings X, pooled, by the first prompted answer.

    Reads the columns ``side.X`` of the data: ``left``, ``right``, ``both`` or blank, of the patient.

    Example:
        >>> Laterality.usual
        True
    """

    order: ClassVar[int] = 20

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the AUROC of left against right; nothing where no unilateral finding has sided prompts."""
        manifest = evaluation.judged.manifest
        sided = [each for each in evaluation.prompts if each.sided and f"side.{each.label}" in manifest]
        if evaluation.prompted is None or not evaluation.sees:
            return
        name, answer = evaluation.prompted
        rows, model = Rows(evaluation.judged.table), evaluation.model.model
        if not sided or evaluation.predictions(name) is None:
            return
        margins = {each.label: answer.margin(rows, model, each.on("left"), each.on("right")) for each in sided}
        sides = {each.label: manifest.column(f"side.{each.label}") for each in sided}
        who = zip(manifest.column("id"), manifest.column("id.patient"), strict=True)
        found = [
            (f"{record}/{label}", patient, float(sides[label][i] == "left"), float(values[i]), label)
            for i, (record, patient) in enumerate(who)
            for label, values in margins.items()
            if sides[label][i] in ("left", "right")
        ]
        if found:
            columns = ["id", "patient_id", "label:left_of_right", "score:left_of_right", "group:finding"]
            yield evaluate_scores(
                pd.DataFrame(found, columns=columns).assign(split=evaluation.options.split),
                name="laterality",
                title="Left against right, unilateral findings",
                **evaluation.drawn,
            )
