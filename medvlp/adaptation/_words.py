"""Where an adapter starts: at the zero-shot classifier of the words, or where there are none at the linear probe."""

from __future__ import annotations

import numpy as np

from medvlp.adaptation._adapter import Candidate
from medvlp.adaptation.linear import linear_candidates
from medvlp.evaluation.linear_classifier import Standard, standard_of
from medvlp.statistics.metrics import FloatArray

__all__ = ["SCALE", "own_standard", "start_of"]

SCALE = 100.0
"""Of cosines, as CLIP's temperature ends."""
_STRENGTH = 1e-2


def start_of(rows: FloatArray, labels: FloatArray, words: FloatArray | None) -> Candidate:
    """Return the linear head that an adapter adds to.

    Args:
        rows: (N, D).
        labels: (N, K), NaN unknown.
        words: (K, D) text vectors; with them nothing is fitted.
    """
    if words is not None:
        return {"output.weight": SCALE * words, "output.bias": np.zeros(len(words))}
    return linear_candidates(rows, labels, [_STRENGTH], balanced=True)[0]


def own_standard(rows: FloatArray, words: FloatArray | None) -> Standard:
    """Return what rows are standardised by: by nothing in a space that they share with words.

    A constant column has an infinite scale and so plays no part.
    """
    width = rows.shape[1]
    return standard_of(rows) if words is None else Standard(np.zeros(width), np.ones(width))
