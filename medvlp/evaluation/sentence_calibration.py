"""Fits `medvlp.answers.sentences.calibration` on validation sentences, and the prior that base rates alone give.

An L2 logistic regression of fixed strength, so nothing is tuned and what is rare stays near the mean.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medvlp.answers.sentences.calibration import SentenceCalibration, sentence_names
from medvlp.evaluation.linear_classifier import fit_classifiers
from medvlp.statistics.metrics import FloatArray

__all__ = ["STRENGTH", "fit_sentence_calibration"]

STRENGTH = 1.0  # C, the inverse of the L2 penalty


def fit_sentence_calibration(table: pd.DataFrame, *, sees: bool = True) -> SentenceCalibration:
    """Fit the map on validation sentences.

    Args:
        table: as of `SentenceCalibration.probabilities`, with ``true`` of both classes and ``patient_id``.
        sees: with slopes; without them it is the prior.

    Example:
        >>> table = pd.DataFrame({"kind": "side", "finding": "effusion", "said": ["left", "right"] * 2,
        ...                       "true": [1, 0, 0, 1], "seen": [0.2, -0.2, -0.1, 0.1], "patient_id": list("aabb")})
        >>> fit_sentence_calibration(table).probabilities(table).round(2).tolist()
        [0.85, 0.15, 0.26, 0.74]
    """
    kinds, findings, said = sentence_names(table)
    seen = table["seen"].to_numpy(np.float64)
    scale = float(seen.std()) or 1.0
    z = (seen / scale)[:, None]
    groups = [said, kinds, findings] if sees else [said]
    names = [sorted(set(group)) for group in groups]
    parts = [_one_hot(group, order) for group, order in zip(groups, names, strict=True)]
    design = np.concatenate([parts[0], *(part * z for part in parts[1:])], axis=1)
    found = fit_classifiers(design, table["true"].to_numpy() == 1, strengths=[STRENGTH])[0]
    ends = np.cumsum([0, *map(len, names)])
    weights = [
        dict(zip(order, map(float, found.weight[start:end]), strict=True))
        for order, start, end in zip(names, ends[:-1], ends[1:], strict=True)
    ]
    return SentenceCalibration(
        intercept=found.bias,
        said=weights[0],
        slope=weights[1] if sees else {},
        finding_slope=weights[2] if sees else {},
        scale=scale,
        strength=STRENGTH,
        n=len(table),
        patients=table["patient_id"].nunique(),
    )


def _one_hot(group: list[str], order: list[str]) -> FloatArray:
    return (np.array(group, dtype=object)[:, None] == np.array(order, dtype=object)[None, :]).astype(np.float64)
