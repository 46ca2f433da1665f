"""A small residual network on frozen features, after CLIP-Adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from medvlp.adaptation._adapter import Adapter, Candidate, Epochs, Positive
from medvlp.adaptation._training import trained
from medvlp.adaptation.linear import own_standard, start_of
from medvlp.core.randomness import numpy_generator
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class Residual(Adapter):
    """Features with a trained bottleneck mixed in, before the zero-shot classifier (Gao et al. 2023, CLIP-Adapter).

    With words their classifier stays as it is, and only the bottleneck learns. Without words it starts from the linear
    probe over standardised features and learns too. Ratio and epochs are chosen on validation for all findings
    together.

    Args:
        ratios: shares of the bottleneck in the mixture.
        epochs: after which it is tried; 0 is where it starts.
        hidden: width of the bottleneck.
        rate: learning rate.
        refit: whether it is trained again on training and validation rows together.

    Example:
        >>> Residual(ratios=(0.2,), epochs=(10, 40)).grid(None)
        [(0.2, 10), (0.2, 40)]
    """

    title: ClassVar[str] = "Residual adapter"
    head: ClassVar[str] = "residual"
    axes: ClassVar[tuple[str, ...]] = ("ratios", "epochs")
    apart: ClassVar[tuple[str, ...]] = ()

    ratios: Positive = (0.2, 0.6)
    epochs: Epochs = (10, 40)
    hidden: Annotated[int, Field(ge=1)] = 64
    rate: Annotated[float, Field(gt=0)] = 1e-3
    refit: bool = True

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[tuple[float, int]]
    ) -> list[Candidate]:
        """The network of each ratio after so many epochs, in one training a ratio."""
        start, standard, width = start_of(rows, labels, words), own_standard(rows, words), rows.shape[1]
        weight, bias = start["output.weight"], start["output.bias"]
        if words is None:  # over standardised rows, which have the length sqrt(D) before they are scaled to 1
            bias = bias + weight @ standard.mean
            weight = weight * np.where(np.isfinite(standard.scale), standard.scale, 0.0) * width**0.5
        tensors = {
            "output.weight": weight,
            "output.bias": bias,
            "down.weight": numpy_generator(0, 0, "residual").normal(size=(self.hidden, width)) / width**0.5,
            "up.weight": np.zeros((width, self.hidden)),
            "mean": standard.mean,
            "scale": standard.scale,
        }
        learns = ["down.weight", "up.weight", *(["output.weight", "output.bias"] if words is None else [])]
        made = {}
        for ratio in dict.fromkeys(ratio for ratio, _ in grid):
            at = [epochs for r, epochs in grid if r == ratio]
            own = {**tensors, "ratio": np.asarray(ratio)}
            found = trained(self.head, own, rows, labels, only=learns, epochs=at, rate=self.rate)
            made |= {(ratio, epochs): each for epochs, each in found.items()}
        return [made[each] for each in grid]
