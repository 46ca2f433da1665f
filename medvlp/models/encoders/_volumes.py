"""Towers that look at a whole volume: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder


class VolumeTower(Encoder):
    """Stacks (R, S, 1, H, W) of one depth -> a map, whose cells are the tokens: slabs first, then rows, then columns.

    A subclass has a `name` and a `wanted` shape for error sentences, the voxels `empty` of a stand-in, `fits`, `cells`.
    """

    kinds = ("stack",)
    name: str
    wanted: str = "(R, S, 1, H, W)"
    empty: tuple[int, int, int]

    def __init__(self) -> None:
        super().__init__()
        self.pooled_output = nn.Identity()

    def fits(self, values: Tensor) -> bool:
        """Return whether this tower accepts stacks of a shape."""
        return values.dim() == 5 and values.shape[2] == 1

    @abstractmethod
    def cells(self, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Return what is pooled (R, W), the tokens (R, N, W') and their grid."""

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode stacks; see `Encoder`."""
        if not isinstance(values, Tensor) or not self.fits(values):
            given = tuple(values.shape) if isinstance(values, Tensor) else "texts"
            raise ConfigError(
                f"The tower {self.name} takes stacks {self.wanted} and was given {given}: change read_grid, or the "
                "data's views."
            )
        if mask is not None and not bool(mask.all()):
            raise ConfigError(
                f"The tower {self.name} reads stacks of one depth, and these differ: let read_grid make them."
            )
        pooled, tokens, grid = self.cells(values)
        return Encoded(
            owner=torch.arange(len(tokens), device=tokens.device),
            pooled=self.pooled_output(pooled) if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device),
            grid=grid,
        )

    def blank(self, device: torch.device) -> Tensor:
        """One stack of zeros."""
        return torch.zeros(1, self.empty[0], 1, *self.empty[1:], device=device)


def at_few_slices(layer: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Call a layer of convolutions over three axes on (R, C, S, H, W), in float32 where S is at most 5 on a CPU.

    In bfloat16 the gradient of a kernel of 3 over a depth of 2 holds what the memory held before (oneDNN as it comes
    with torch 2.13). Such maps are small, so that this costs nothing.
    """
    if values.dim() != 5 or values.shape[2] > 5 or values.device.type != "cpu":
        return layer(values)
    with torch.autocast("cpu", enabled=False):
        return layer(values if values.dtype == torch.float64 else values.float())
