"""Tip-Adapter whose keys are trained: the cache is where a small network starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from medvlp.adaptation._adapter import Adapter, Candidate, Epochs, Positive
from medvlp.adaptation._training import trained
from medvlp.adaptation.linear import start_of
from medvlp.adaptation.tip import cache_of, with_strength
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class TipTuned(Adapter):
    """The cache of `tip` with trained keys (Zhang et al. 2022, Tip-Adapter-F); their labels stay as they are.

    Sharpness, weight and epochs are chosen on validation for all findings together, which share the keys.

    Args:
        sharpness: s to try.
        weights: a to try.
        epochs: after which the keys are tried; 0 is the cache untrained.
        rate: learning rate.
        refit: whether it is trained again on training and validation rows together.

    Example:
        >>> TipTuned(sharpness=(3.0,), weights=(1.0,), epochs=(0, 5)).grid(None)
        [(3.0, 1.0, 0), (3.0, 1.0, 5)]
    """

    title: ClassVar[str] = "Tip-Adapter, tuned"
    head: ClassVar[str] = "cache"
    axes: ClassVar[tuple[str, ...]] = ("sharpness", "weights", "epochs")
    apart: ClassVar[tuple[str, ...]] = ()

    sharpness: Positive = (1.0, 3.0)
    weights: Positive = (0.03, 0.3)
    epochs: Epochs = (5, 20)
    rate: Annotated[float, Field(gt=0)] = 1e-3
    refit: bool = True

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[tuple[float, float, int]]
    ) -> list[Candidate]:
        """Each cache after so many epochs, in one training a cache."""
        untuned, made = cache_of(rows, labels, words, start_of(rows, labels, words)), {}
        for s, a in dict.fromkeys((s, a) for s, a, _ in grid):
            cache = with_strength(untuned, sharpness=s, weight=a)
            at = [epochs for s_, a_, epochs in grid if (s_, a_) == (s, a)]
            found = trained(self.head, cache, rows, labels, only=["keys"], epochs=at, rate=self.rate)
            made |= {(s, a, epochs): tensors for epochs, tensors in found.items()}
        return [made[each] for each in grid]
