"""The probability that a sentence is true, fitted on validation sentences, and what base rates alone give.

``logit p = c + a[kind, finding, said] + z (b[kind] + b[kind, finding])``: one intercept for all that say the same of
the same finding, and a slope of what was seen (`medvlp.evaluation.sentence_rows`), z in its validation deviations. An
L2 logistic regression of fixed strength, so nothing is tuned and what is rare stays near the mean. The prior is the
same without z: a calibrated probability is worth what it is better than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from medvlp.evaluation.linear_classifier import fit_classifiers
from medvlp.evaluation.metrics import FloatArray

__all__ = ["STRENGTH", "SentenceCalibration", "fit_sentence_calibration"]

STRENGTH = 1.0  # C, the inverse of the L2 penalty


@dataclass(frozen=True, slots=True)
class SentenceCalibration:
    """A fitted map, plain numbers: ``SentenceCalibration(**stored)`` of a result's `fitted` is the map again.

    Attributes:
        intercept: for every sentence.
        said: further intercepts by ``kind/finding/said``; what validation never said has none.
        slope: of z by ``kind``.
        finding_slope: further slopes by ``kind/finding``.
        scale: validation deviation of what was seen; z is seen / scale.
        strength: C that it was fitted with.
        n, patients: validation sentences and their patients.
    """

    intercept: float
    said: Mapping[str, float]
    slope: Mapping[str, float]
    finding_slope: Mapping[str, float]
    scale: float
    strength: float
    n: int
    patients: int

    def probabilities(self, table: pd.DataFrame) -> FloatArray:
        """Return the probability that each sentence is true.

        Args:
            table: ``kind``, ``finding``, ``said`` and ``seen``, as `medvlp.evaluation.sentence_rows.Sentences` has.

        Example:
            >>> map_ = SentenceCalibration(0.0, {}, {"side": 2.0}, {}, scale=0.1, strength=1.0, n=2, patients=1)
            >>> row = {"kind": ["side"], "finding": ["effusion"], "said": ["left"], "seen": [0.05]}
            >>> map_.probabilities(pd.DataFrame(row)).round(3).tolist()
            [0.731]
        """
        kinds, findings, said = _names(table)
        z = table["seen"].to_numpy(np.float64) / self.scale
        slope = _values(self.slope, kinds) + _values(self.finding_slope, findings)
        return expit(self.intercept + _values(self.said, said) + z * slope)

    def knows(self, table: pd.DataFrame) -> np.ndarray:
        """Return ``(n,)`` whether validation said this of this finding."""
        return np.array([name in self.said for name in _names(table)[2]], dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as stored in ``results.json``."""
        return asdict(self)


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
    kinds, findings, said = _names(table)
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


def _names(table: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Return kind, ``kind/finding`` and ``kind/finding/said`` of every row."""
    kinds = table["kind"].astype(str)
    findings = kinds + "/" + table["finding"].astype(str)
    return kinds.tolist(), findings.tolist(), (findings + "/" + table["said"].astype(str)).tolist()


def _values(numbers: Mapping[str, float], names: list[str]) -> FloatArray:
    return np.array([numbers.get(name, 0.0) for name in names], np.float64)


def _one_hot(group: list[str], order: list[str]) -> FloatArray:
    return (np.array(group, dtype=object)[:, None] == np.array(order, dtype=object)[None, :]).astype(np.float64)
