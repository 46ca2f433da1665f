"""AUROC and average precision of anybody's predictions, per finding, averaged and by group, with patient intervals.

The table is that of `predictions`. Uncertain and missing rows are left out of that finding only (policy ``u_ignore``,
unless another is asked for). All numbers of a split come from the same resamples.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.evaluation.predictions import Policy, checked_findings
from medvlp.evaluation.rank_metrics import rank_metrics
from medvlp.evaluation.results import Result, Role
from medvlp.evaluation.scoring.options import MIN_GROUP, ScoreOptions
from medvlp.evaluation.scoring.split import split_data
from medvlp.statistics.intervals import DEFAULT_FORM, Form
from medvlp.statistics.metrics import checked_scores


def evaluate_scores(
    predictions: pd.DataFrame,
    *,
    seed: int,
    resamples: int = 2000,
    min_positives: int = 1,
    interval: Form = DEFAULT_FORM,
    policy: Policy = "u_ignore",
    min_group: int = MIN_GROUP,
    name: str = "scores",
    title: str = "",
    role: Role = "model",
) -> Result:
    """Return AUROC and average precision per finding, averaged, and per group, with 95 % patient bootstrap intervals.

    Averages over findings: ``macro`` (mean), ``weighted`` (by positives) and ``micro`` (all cases of all findings
    pooled, which supposes scores on one scale), each with the number of labels used; a group has the macro average.

    ``group:NAME`` splits every finding by the column's value (site, sex). ``group:NAME@FINDING`` splits that finding
    only (size terciles of its positives). A negative row with a blank group is compared within every value of the
    group; a positive row with a blank group is in none.

    Args:
        predictions: one row an image or study, with the columns named above.
        name, title, role: of the `Result`, see there.
        resamples: bootstrap resamples of patients; 0 for no intervals.
        min_positives: positive rows that a finding needs to take part in an average.
        interval: form of the intervals, see `intervals`.
        policy: what is done with uncertain labels.
        min_group: patients of each class that a group needs for any number.

    Raises:
        DataError: if a column is missing, an id occurs twice, a label is not 1, 0, -1 or blank, a score of a labelled
            row is missing, NaN or infinite, or a patient is in two splits.

    Example:
        >>> table = pd.DataFrame({"id": list("abcd"), "patient_id": list("ABCD"),
        ...                       "label:effusion": [0, 0, 1, 1], "score:effusion": [0.1, 0.4, 0.35, 0.8]})
        >>> evaluate_scores(table, seed=0, resamples=50).find("auroc", "effusion").value
        0.75
    """
    findings = checked_findings(predictions)
    options = ScoreOptions(
        seed=seed, resamples=resamples, interval=interval, policy=policy, min_positives=min_positives,
        min_group=min_group,
    )  # fmt: skip
    parts = [split_data(rows, findings, name=split, options=options) for split, rows in split_rows(predictions)]
    metrics = [row for part in parts for row in rank_metrics(part)]
    return Result(name=name, title=title, role=role, metrics=tuple(metrics), cases=predictions.reset_index(drop=True))


def size_terciles(sizes: ArrayLike, positive: ArrayLike) -> NDArray[np.object_]:
    """Return ``"1 small"``, ``"2 medium"`` or ``"3 large"`` for positive rows by size tercile, None elsewhere.

    For a ``group:size@FINDING`` column: each tercile's positives are then compared with all negatives.

    Args:
        sizes: ``(n,)`` sizes in any one unit; read where `positive` is true.
        positive: ``(n,)`` booleans.

    Example:
        >>> size_terciles([3, 30, 9, 0], [True, True, True, False]).tolist()
        ['1 small', '3 large', '2 medium', None]
    """
    size, chosen = np.asarray(sizes, dtype=np.float64), np.asarray(positive, dtype=bool)
    groups = np.full(len(size), None, dtype=object)
    if chosen.any():
        cuts = np.quantile(checked_scores(size[chosen], rows=int(chosen.sum()), name="Sizes"), [1 / 3, 2 / 3])
        names = np.array(["1 small", "2 medium", "3 large"], dtype=object)
        groups[chosen] = names[np.searchsorted(cuts, size[chosen], side="left")]
    return groups


def split_rows(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return each split's name and rows, in the order of names; one without a name where there is no such column."""
    if "split" not in predictions:
        return [("", predictions.reset_index(drop=True))]
    splits = predictions["split"].astype(str)
    return [(split, predictions[splits == split].reset_index(drop=True)) for split in sorted(splits.unique())]
