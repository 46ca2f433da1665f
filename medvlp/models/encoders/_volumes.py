"""Towers that look at a whole volume: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._sites import block_sites, linear_sites


class VolumeTower(Encoder):
    """Stacks (R, S, 1, H, W) of one depth -> a map, whose cells are the tokens: slabs first, then rows, then columns.

    A subclass has a `name` for error sentences, the voxels `empty` (S, H, W) of a stand-in, and `cells`.
    """

    kinds = ("stack",)
    name: str
    empty: tuple[int, int, int]

    def __init__(self) -> None:
        super().__init__()
        self.pooled_output = nn.Identity()

    @abstractmethod
    def cells(self, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Return what is pooled (R, W), the tokens (R, N, W') and their grid; refuse stacks of another size."""

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode stacks; see `Encoder`."""
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

    def _sites(self, blocks: nn.ModuleList, layers: nn.Module) -> Mapping[str, Site]:
        pooled = {"pooled.output": Site(self.pooled_output, "after")}
        return {**block_sites(list(blocks)), **linear_sites(layers), **pooled}


def refuse_shape(name: str, values: Tensor, wanted: str, mend: str = "change read_grid") -> None:
    """Refuse values of another shape than a tower takes."""
    raise ConfigError(f"The tower {name} takes stacks {wanted} and was given {tuple(values.shape)}: {mend}.")
