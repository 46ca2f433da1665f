"""Tip-Adapter: labelled rows are remembered, and what is near to them is called as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from medvlp.adaptation._adapter import Adapter, Candidate, Positive
from medvlp.adaptation._training import weights_of
from medvlp.adaptation.linear import own_standard, start_of
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class Tip(Adapter):
    """A cache of the training rows on top of the zero-shot score (Zhang et al. 2022, Tip-Adapter, eq. 3 to 6).

    ``100 x t_k + a sum_m exp(-s (1 - x x_m)) v_mk`` with v 1 for a row that has the finding, -1 for one that has not,
    each class weighing alike, and 0 where its label is missing; one set of keys serves all findings. Without words the
    linear probe takes the place of the zero-shot score, and features are standardised first: pooled features all point
    the same way, and words are compared in the space as it is. a and s are chosen for each finding on validation.

    Nothing is trained; `tip_tuned` trains the keys.

    Args:
        sharpness: s to try.
        weights: a to try.
        refit: whether validation rows are remembered too, once a and s are chosen.

    Example:
        >>> Tip(sharpness=(1.0,), weights=(0.5, 2.0)).grid(None)
        [(1.0, 0.5), (1.0, 2.0)]
    """

    title: ClassVar[str] = "Tip-Adapter"
    head: ClassVar[str] = "cache"
    axes: ClassVar[tuple[str, ...]] = ("sharpness", "weights")
    apart: ClassVar[tuple[str, ...]] = ("output.weight", "output.bias", "weight", "sharpness")

    sharpness: Positive = (1.0, 3.0, 5.5, 10.0)
    weights: Positive = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    refit: bool = True

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[tuple[float, float]]
    ) -> list[Candidate]:
        """The same cache with each sharpness and weight."""
        cache = cache_of(rows, labels, words, start_of(rows, labels, words))
        return [with_strength(cache, sharpness=s, weight=a) for s, a in grid]


def cache_of(rows: FloatArray, labels: FloatArray, words: FloatArray | None, start: Candidate) -> Candidate:
    """Return the tensors of the head ``cache`` that remembers rows (N, D) with labels (N, K), NaN unknown.

    `with_strength` adds those that are missing.
    """
    standard = own_standard(rows, words)
    keys = standard(rows)
    keys /= np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
    share = weights_of(labels)
    return {
        **start,
        "keys": keys,
        "values": np.where(np.isfinite(labels), np.where(labels == 1, share, -share), 0.0),
        "mean": standard.mean,
        "scale": standard.scale,
    }


def with_strength(cache: Candidate, *, sharpness: float, weight: float) -> Candidate:
    """Return a cache that counts so much and so sharply for every finding; its keys and values are shared."""
    classes = np.ones(cache["values"].shape[1])
    return {**cache, "weight": weight * classes, "sharpness": sharpness * classes}
