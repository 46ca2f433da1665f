"""Left against right: which side a unilateral finding is said to be on."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from medvlp.answers.prompting.laterality import side_margins
from medvlp.config.judge import Judge
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Result

__all__ = ["laterality"]


def laterality(judge: Judge) -> Iterator[Result]:
    """Yield score(left X) - score(right X) on unilateral positives of all findings, pooled."""
    if judge.truth is None or not judge.prompts or not judge.sees:
        return
    margins = side_margins(judge.table[judge.seen], judge.prompts, judge.model.embed_text)
    manifest = judge.prepared.manifest
    who = zip(manifest.column("id"), manifest.column("id.patient"), manifest.column("id.study"), strict=True)
    rows = []
    for i, (record, patient, study) in enumerate(who):
        for label, values in margins.items():
            sides = {f.side for f in judge.truth.findings.get(study, ()) if f.name == label}
            if sides in ({"left"}, {"right"}):
                left = float(sides == {"left"})
                rows.append((f"{record}/{label}", patient, left, float(values[i]), label))
    if not rows:
        return
    columns = ["id", "patient_id", "label:left_of_right", "score:left_of_right", "group:finding"]
    yield evaluate_scores(
        pd.DataFrame(rows, columns=columns).assign(split=judge.options.split),
        seed=judge.seed,
        resamples=judge.options.resamples,
        recipe=judge.recipe,
        data=judge.manifest.hash,
        name="laterality",
        title="Left against right, unilateral findings",
        synthetic=judge.synthetic,
    )
