"""Numbers of an attack: what becomes of recalls, and of decisions that were right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.grounding.evaluate import youden_threshold
from medvlp.evaluation.metric_row import mean_metric, share_row
from medvlp.evaluation.results import Comparison, Counts, Metric
from medvlp.statistics.proportions import share_of
from medvlp.statistics.ranks import rank_embeddings

NEAREST = 5


@dataclass(frozen=True)
class Embedded:
    """Unit embeddings (N, D) of images and of their own texts."""

    image: np.ndarray
    text: np.ndarray


def thresholds_of(manifest: Manifest, said: Predictions | None) -> dict[str, float]:
    """Return finding -> Youden's threshold on rows that nothing is judged on; those of one class have none."""
    found = dict[str, float | None]()
    for label, scores in (said.scores or {} if said is not None else {}).items():
        if f"label.{label}" in manifest:
            truth = np.asarray(manifest.column(f"label.{label}"), dtype=np.float64)
            known = np.isin(truth, (0.0, 1.0)) & np.isfinite(scores)
            found[label] = youden_threshold(scores[known].astype(np.float64), truth[known] == 1)
    return {label: threshold for label, threshold in found.items() if threshold is not None}


def recall_rows(
    seen: Embedded, moved: Embedded, reports: Sequence[str], patients: Sequence[str], *, seed: int, resamples: int
) -> list[Metric]:
    """Return, of both directions, the difference of recalls and the share of found reports that were lost.

    Equal reports are one another's answers; the pool is that of all cases.

    Args:
        seen: as they are.
        moved: under attack.
        reports: (N,) as they were written.
        patients: (N,).
        resamples: over patients.
    """
    group = np.unique([" ".join(text.split()).casefold() for text in reports], return_inverse=True)[1]
    k, rows = min(NEAREST, len(reports)), []
    for direction in ("image_to_report", "report_to_image"):
        before, after = (
            rank_embeddings(
                *((e.image, e.text) if direction == "image_to_report" else (e.text, e.image)), group
            ).recall(k)
            for e in (seen, moved)
        )
        row = mean_metric(f"recall_difference@{k}", direction, after - before, patients, seed=seed, resamples=resamples)
        counts = replace(row.counts, pool=len(reports))
        test = Comparison(first=float(before.mean()), second=float(after.mean()))
        rows.append(replace(row, counts=counts, test=test))
        found = before >= 0.5
        rows.append(_success(direction, after[found] < 0.5, np.asarray(patients, str)[found]))
    return rows


def finding_rows(clean: pd.DataFrame, attacked: pd.DataFrame, thresholds: Mapping[str, float]) -> list[Metric]:
    """Return, by finding and pooled, the share of right decisions that an attack made wrong.

    Args:
        clean: ``id``, ``patient_id``, ``label:NAME`` and ``score:NAME``.
        attacked: the same rows.
        thresholds: at and above which a finding is called.
    """
    rows, lost, people = [], [], []
    for label, threshold in thresholds.items():
        truth = clean[f"label:{label}"].to_numpy(dtype=np.float64)
        calls = [table[f"score:{label}"].to_numpy() >= threshold for table in (clean, attacked)]
        right = np.isin(truth, (0.0, 1.0)) & (calls[0] == (truth == 1))
        lost.append(calls[1][right] != (truth[right] == 1))
        people.append(clean["patient_id"].astype(str).to_numpy()[right])
        rows.append(_success(label, lost[-1], people[-1]))
    return [*rows, _success("micro", np.concatenate(lost), np.concatenate(people))] if rows else []


def _success(label: str, lost: np.ndarray, patients: np.ndarray) -> Metric:
    counts = Counts(n=0, patients=0, positives=int(lost.sum()))
    row = Metric(metric="attack_success", label=label, value=None, counts=counts)
    return share_row(row, share_of(lost, np.unique(patients, return_inverse=True)[1]))
