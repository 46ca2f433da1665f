"""The table of robustness: how far AUROC falls when a factor changes, and how many such pictures the gate flags.

The changed pictures are those of the same cases, so the differences are paired: DeLong's test for patients with several
images for a finding, the patient bootstrap for the macro average (`medvlp.evaluation.compare`). The p values of the
macro averages are corrected together, after Holm, over all factors and levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.metric_row import corrected, share_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.proportions import share_of


@dataclass(frozen=True, eq=False)
class Condition:
    """What a model said of pictures under one condition.

    Attributes:
        factor: what was changed; empty for pictures as they are.
        level: how much, as in ``rotation=10``.
        cases: ``id``, ``patient_id``, ``label:NAME`` and ``score:NAME``.
        flagged: (N,) booleans of the bundle's gate; None where it has none.
    """

    factor: str
    level: str
    cases: pd.DataFrame
    flagged: np.ndarray | None = None

    @property
    def group(self) -> str | None:
        """Name of the condition in results."""
        return f"{self.factor}={self.level}" if self.factor else None


def evaluate_robustness(
    clean: Condition,
    changed: Sequence[Condition],
    *,
    seed: int = 0,
    resamples: int = 1000,
    min_positives: int = 1,
    split: str = "",
) -> Result:
    """Return what each factor does: ``auroc_difference`` (changed less clean) and the share ``flagged`` by the gate.

    A row's ``group`` is the condition, ``rotation=10``; ``flagged`` has a row without one, for the clean pictures.

    Args:
        clean: pictures as they are.
        changed: the same cases, or some of them (only some studies have a lateral picture).
        resamples: of patients.
        min_positives: of a finding in the macro average.
        split: written into the rows.

    Raises:
        DataError: if a condition shares no case with the clean pictures, or labels or patients differ.
    """
    if clean.factor or any(not each.factor for each in changed):
        raise DataError("Robustness compares changed pictures with those as they are: name each change's factor.")
    rows = _flagged(clean, split)
    for condition in changed:
        found = compare_results(
            _result(clean), _result(condition), common=True, resamples=resamples, seed=seed, min_positives=min_positives
        )
        rows += [
            replace(row, group=condition.group, split=split)
            for row in found.metrics
            if row.metric == "auroc_difference"
        ]
        rows += _flagged(condition, split)
    # A finding's p values are corrected within its condition, those of the averages over conditions; a single finding,
    # which has no average, stands for itself.
    single = len({row.label for row in rows if row.metric == "auroc_difference"}) == 1
    rows = corrected(rows, lambda row: row.label if row.label == "macro" or single else None)
    return Result(
        name="robustness",
        title="Robustness: one factor changed",
        metrics=tuple(rows),
        cases=pd.concat([_cases_of(each) for each in (clean, *changed)], ignore_index=True),
    )


def _result(condition: Condition) -> Result:
    return Result(name=condition.group or "clean", metrics=(), cases=condition.cases)


def _cases_of(condition: Condition) -> pd.DataFrame:
    table = condition.cases.assign(factor=condition.factor, level=condition.level)
    return table if condition.flagged is None else table.assign(flagged=condition.flagged)


def _flagged(condition: Condition, split: str) -> list[Metric]:
    if condition.flagged is None or not len(condition.flagged):
        return []
    share = share_of(condition.flagged, pd.factorize(condition.cases["patient_id"])[0])
    row = Metric(
        metric="flagged", label="gate", value=None, split=split, group=condition.group, counts=Counts(n=0, patients=0)
    )
    return [share_row(row, share)]
