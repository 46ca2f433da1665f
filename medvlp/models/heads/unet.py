"""The decoder half of a U-Net over the levels of any encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.heads._dense import DenseHead, Solid, conv, level_sizes, real_only, resize


class UnetHead(DenseHead):
    """Levels -> logits of pixels by the decoder of U-Net (Ronneberger et al. 2015); see `DenseHead`.

    From the coarsest level up: enlarge, put the next level beside, two convolutions with a norm over one row. Levels
    come in through a convolution of one cell, to `width` channels at the finest and twice as many at each coarser one,
    `most` at most. A level that is no finer than the one below it, as those of a ViT, is enlarged first (UNETR,
    Hatamizadeh et al. 2022). Padded slices of a stack are seen by nothing.

    Args:
        classes: K.
        width: channels at the finest level.
        most: channels at any level.
        norm: ``group``, or ``instance`` as in nnU-Net (Isensee et al. 2021): on maps of many cells, as of volumes,
            it learns several times faster; over a handful of cells it erases what a channel's mean tells.

    Example:
        >>> head = UnetHead(levels=(Level(4, (2, 2)), Level(8, (4, 4))), classes=3, width=8)
        >>> maps = {"level[0]": torch.rand(1, 4, 8, 8), "level[1]": torch.rand(1, 8, 4, 4)}
        >>> head(Encoded(owner=torch.arange(1), size=(16, 16), extra=maps), "lesions")["lesions"].shape
        torch.Size([1, 3, 16, 16])
    """

    name = "unet"

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        classes: Annotated[int, Field(ge=1)],
        width: Annotated[int, Field(ge=4)] = 32,
        most: Annotated[int, Field(ge=4)] = 256,
        norm: Literal["group", "instance"] = "group",
    ) -> None:
        super().__init__(levels)
        self.strides = [level.stride for level in levels]
        axes = len(self.strides[0])
        widths = [min(width * 2**i, most) for i in range(len(levels))]
        self.inputs = nn.ModuleList(conv(axes, level.channels, w, 1) for level, w in zip(levels, widths, strict=True))
        single = norm == "instance"
        self.bottom = Solid(axes, widths[-1], widths[-1], single=single)
        self.joins = nn.ModuleList(Solid(axes, a + b, a, single=single) for a, b in pairwise(widths))
        self.output = conv(axes, widths[0], classes, 1)

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        sizes = level_sizes(maps, self.strides)
        maps = [real_only(layer(each), real) for layer, each in zip(self.inputs, maps, strict=True)]
        values = self.bottom(resize(maps[-1], sizes[-1]), real)
        for i in reversed(range(len(self.joins))):
            values = self.joins[i](torch.cat([resize(maps[i], sizes[i]), resize(values, sizes[i])], dim=1), real)
        return {"": self.output(values)}
