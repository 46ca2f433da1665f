"""Weights of an ensemble of prompts, fitted on validation and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from medvlp.answers.prompting.recipe import FloatArray, dots, pair_probability, unit_rows
from medvlp.core.errors import DataError

__all__ = ["fit_prompt_weights"]

_VALIDATION = "validate"


def fit_prompt_weights(
    images: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    labels: ArrayLike,
    split: Sequence[str],
    *,
    scale: float,
    strength: float = 1.0,
) -> FloatArray:
    """Return (P,) weights of the positive prompts, 0 or more, adding to 1.

    They minimise the mean log loss of p = sigmoid(s v.(unit(sum_i w_i p_i) - n) + c), c free, plus `strength` / n times
    the relative entropy of w to equal weights: with few cases the weights stay near equal.

    Args:
        images: (N, D) unit embeddings of validation.
        positive: (P, D) unit embeddings of the positive prompts.
        negative: (D,) class vector of the negative prompts.
        labels: (N,) 1, 0; -1 and NaN are left out.
        split: (N,) where each row stands: all must be ``validate``.
        scale: s.
        strength: pull to equal weights.

    Raises:
        DataError: if a row is not of the validation split, or one of the classes is missing.

    Example:
        >>> eye = np.eye(3)
        >>> images, truth = np.repeat(eye[:2], 5, axis=0), [1] * 5 + [0] * 5
        >>> fit_prompt_weights(images, eye[:2], eye[2], truth, ["validate"] * 10, scale=5.0).argmax().item()
        0
    """
    others = sorted(set(split) - {_VALIDATION})
    if others:
        raise DataError(
            f"Weights of prompts are fitted on the split {_VALIDATION!r} only, and these rows hold {others[0]!r}: "
            "leave its rows out."
        )
    truth = np.asarray(labels, dtype=np.float64)
    if not len(truth) == len(images) == len(split):
        raise DataError(f"There are {len(images)} images, {len(truth)} labels, {len(split)} splits: give one each.")
    known = np.isin(truth, (0, 1))
    y = truth[known]
    if not 0 < y.sum() < len(y):
        raise DataError("Weights of prompts need a case with and a case without the finding in validation.")
    prompts = unit_rows(positive)
    near, away = dots(images[known], prompts), dots(images[known], negative[None])[:, 0]
    gram = dots(prompts, prompts)

    def loss(free: FloatArray) -> float:
        weights = _weights(free[:-1])
        length = max(float(np.sqrt(weights @ gram @ weights)), 1e-12)
        p = pair_probability(near @ weights / length, away - free[-1] / scale, scale)
        fit = -np.mean(y * np.log(np.maximum(p, 1e-300)) + (1 - y) * np.log(np.maximum(1 - p, 1e-300)))
        pull = float((weights * np.log(np.maximum(weights, 1e-300) * len(weights))).sum())
        return float(fit + strength * pull / len(y))

    found = minimize(loss, np.zeros(len(prompts) + 1), method="L-BFGS-B")
    return _weights(found.x[:-1])


def _weights(free: FloatArray) -> FloatArray:
    high = np.exp(free - free.max())
    return high / high.sum()
