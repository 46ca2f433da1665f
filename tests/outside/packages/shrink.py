"""A patch: one file, one class from what passes a site to what passes on."""

from __future__ import annotations

from torch import Tensor

from medvlp.models.patches._patch import Patch


class Shrink(Patch):
    """x -> `factor` x."""

    def __init__(self, *, kind: str = "image", on: str = "pooled.output", factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        return self.factor * value
