"""A vision transformer that sees a volume through one window an organ: fVLM's tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, DataError
from medvlp.models.encoders.volume_vit import VolumeViT


class OrganViT(VolumeViT):
    """Windows around the O organs of a volume (R, O S, 2, H, W), of `read_organs` -> the tokens of each organ.

    The second channel is 1 in the organ, 1/2 elsewhere in its window and 0 outside; each window is cut out and encoded
    by itself, with the learnt places interpolated trilinearly to its size. A token belongs to the organ where any of
    its voxels does: those are real in ``mask`` (R, O N), N the blocks of (S, H, W). ``layers`` (R, L, O N, W) are what
    the blocks of `levels` give and, last, the normed end, which ``tokens`` is; ``pooled`` is its mean over all organs.
    fVLM (Shui et al., ICLR 2025) has the sizes that stand here.

    Args:
        patch, width, layers, heads, hidden: as in `volume_vit`.
        organs: O.
        size: (S, H, W) whose places are learnt.
        levels: numbers of blocks, from 0, ascending.

    Raises:
        ConfigError: for sizes that do not divide, levels that there are not, or stacks of another form.
        DataError: if a window is empty or holds nothing of its organ.

    Example:
        >>> options = {"size": (4, 8, 8), "patch": (2, 4, 4), "width": 16, "heads": 2, "hidden": 24}
        >>> tower = OrganViT(organs=3, layers=2, levels=(0,), **options).eval()
        >>> windows = torch.ones(1, 3 * 4, 2, 12, 8)
        >>> rows = tower(windows, parts=frozenset({"layers"}))
        >>> rows.layers.shape, rows.mask.sum().item(), rows.grid
        (torch.Size([1, 2, 36, 16]), 36, (6, 3, 2))
    """

    name = "organ_vit"

    def __init__(
        self,
        *,
        organs: Annotated[int, Field(ge=1)] = 4,
        size: tuple[int, int, int] = (112, 256, 352),
        patch: tuple[int, int, int] = (16, 16, 32),
        width: Annotated[int, Field(ge=1)] = 768,
        layers: Annotated[int, Field(ge=1)] = 12,
        heads: Annotated[int, Field(ge=1)] = 12,
        hidden: Annotated[int, Field(ge=1)] = 3072,
        levels: Sequence[int] = (3, 6, 9),
    ) -> None:
        sizes = {"size": size, "patch": patch, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
        super().__init__(**sizes, qkv_bias=True)  # pyrefly: ignore
        del self.cls_token  # pooled is a mean
        if sorted(set(levels)) != list(levels) or not all(0 <= level < layers for level in levels):
            raise ConfigError(f"organ_vit has blocks 0 to {layers - 1}, and levels are {list(levels)}: name some.")
        self.organs, self.patch, self.tapped = organs, tuple(patch), tuple(levels)
        self.offers = frozenset({"pooled", "tokens", "mask", "layers"})

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode windows; see `Encoder`."""
        steps = (self.organs * self.patch[0], *self.patch[1:])
        shape = tuple(values.shape[i] for i in (1, 3, 4)) if values.dim() == 5 else ()
        if not shape or any(n % step for n, step in zip(shape, steps, strict=True)):
            wanted = f"(R, S, 2, H, W) with S, H and W multiples of {steps}"
            raise ConfigError(
                f"The tower organ_vit takes stacks {wanted} and was given {tuple(values.shape)}: let read_organs make "
                "them."
            )
        windows = values.unflatten(1, (self.organs, -1)).movedim(3, 2).flatten(0, 1)  # (R O, 2, S, H, W)
        grid = tuple(n // p for n, p in zip(windows.shape[2:], self.patch, strict=True))
        layers = windows.new_zeros(len(windows), len(self.tapped) + 1, *grid, self.width)
        own = F.max_pool3d((windows[:, 1:] > 0.75).float(), self.patch)[:, 0] > 0
        if not own.flatten(1).any(dim=1).all():
            raise DataError("A window holds nothing of its organ: let read_organs make it.")
        inside = windows[:, 1] > 0.25
        extents = torch.stack([inside.flatten(2).any(2).sum(1), *(inside.any(d).any(1).sum(1) for d in (3, 2))], dim=1)
        for extent in extents.unique(dim=0).tolist():
            rows = (extents == extents.new_tensor(extent)).all(dim=1)
            s, h, w = (n // p for n, p in zip(extent, self.patch, strict=True))
            seen = windows[rows, :1, : extent[0], : extent[1], : extent[2]]
            layers[rows, :, :s, :h, :w] = self._levels(seen).unflatten(2, (s, h, w)).to(layers.dtype)
        layers = layers.flatten(2, 4).unflatten(0, (-1, self.organs)).transpose(1, 2).flatten(2, 3)
        own = own.flatten(1).unflatten(0, (-1, self.organs)).flatten(1, 2)
        tokens = layers[:, -1]
        mean = (tokens * own[..., None]).sum(dim=1) / own.sum(dim=1, keepdim=True)
        return Encoded(
            owner=torch.arange(len(tokens), device=tokens.device),
            pooled=self.pooled_output(mean) if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=own,
            grid=(self.organs * grid[0], *grid[1:]),
            layers=layers if "layers" in parts else None,
        )

    def _levels(self, windows: Tensor) -> Tensor:
        """Windows of one size (n, 1, S, H, W) -> (n, L, N, W)."""
        at = self.embed(windows)
        places = self.position.transpose(1, 2).unflatten(2, self.grid)
        if at.shape[2:] != places.shape[2:]:
            places = F.interpolate(places, size=at.shape[2:], mode="trilinear", align_corners=False)
        at, found = (at + places).flatten(2).transpose(1, 2), []
        for number, block in enumerate(self.blocks):
            at = block(at)
            if number in self.tapped:
                found.append(at)
        return torch.stack([*found, self.norm(at)], dim=1)

    def blank(self, device: torch.device) -> Tensor:
        """One row of windows that are organ all over."""
        return torch.ones(1, self.organs * self.empty[0], 2, *self.empty[1:], device=device)
