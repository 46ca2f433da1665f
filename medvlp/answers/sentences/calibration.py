"""The probability that a sentence is true, as plain numbers that were fitted on validation sentences.

``logit p = c + a[kind, finding, said] + z (b[kind] + b[kind, finding])``: one intercept for all that say the same of
the same finding, and a slope of what was seen (`medvlp.answers.sentences.rows`), z in its validation deviations. The
prior is the same without z: a calibrated probability is worth what it is better than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

FloatArray = NDArray[np.float64]


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
            table: ``kind``, ``finding``, ``said`` and ``seen``, as `medvlp.answers.sentences.rows.Sentences` has.

        Example:
            >>> map_ = SentenceCalibration(0.0, {}, {"side": 2.0}, {}, scale=0.1, strength=1.0, n=2, patients=1)
            >>> row = {"kind": ["side"], "finding": ["effusion"], "said": ["left"], "seen": [0.05]}
            >>> map_.probabilities(pd.DataFrame(row)).round(3).tolist()
            [0.731]
        """
        kinds, findings, said = sentence_names(table)
        z = table["seen"].to_numpy(np.float64) / self.scale
        slope = _values(self.slope, kinds) + _values(self.finding_slope, findings)
        return expit(self.intercept + _values(self.said, said) + z * slope)

    def knows(self, table: pd.DataFrame) -> np.ndarray:
        """Return ``(n,)`` whether validation said this of this finding."""
        return np.array([name in self.said for name in sentence_names(table)[2]], dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as stored in ``results.json``."""
        return asdict(self)


def sentence_names(table: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Return kind, ``kind/finding`` and ``kind/finding/said`` of every row."""
    kinds = table["kind"].astype(str)
    findings = kinds + "/" + table["finding"].astype(str)
    return kinds.tolist(), findings.tolist(), (findings + "/" + table["said"].astype(str)).tolist()


def _values(numbers: Mapping[str, float], names: list[str]) -> FloatArray:
    return np.array([numbers.get(name, 0.0) for name in names], np.float64)
