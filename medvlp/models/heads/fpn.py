"""A feature pyramid over the levels of any encoder, and a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head, Level
from medvlp.core.registry import FromModel
from medvlp.models.heads._dense import conv, kept, level_reads, levels_of, real_slices, resize, view_size
from medvlp.models.heads._pyramid import Pyramid

__all__ = ["FpnHead"]


class FpnHead(Head):
    """Levels (R, C, h, w) or (R, C, s, h, w) -> logits of pixels, (R, K, H, W) or (R, K, S, H, W), by semantic FPN.

    See `Pyramid`; ReLU and a convolution of one cell make the logits at the finest level, which are enlarged to the
    view. Cheaper than ``unet``, and without norms: a pixel depends on nothing beyond the reach of its convolutions.

    Args:
        levels: of the encoder, given by the builder.
        classes: K.
        width: channels of the pyramid.

    Raises:
        ConfigError: if the encoder offers no levels.

    Example:
        >>> import torch
        >>> head = FpnHead(levels=(Level(4, (2, 2)), Level(8, (4, 4))), classes=3, width=8)
        >>> maps = {"level[0]": torch.rand(1, 4, 8, 8), "level[1]": torch.rand(1, 8, 4, 4)}
        >>> head(Encoded(owner=torch.arange(1), size=(16, 16), extra=maps), "lesions")["lesions"].shape
        torch.Size([1, 3, 16, 16])
    """

    reads = ()

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        classes: Annotated[int, Field(ge=1)],
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__()
        self.reads = level_reads(levels, head="fpn")
        self.count = len(levels)
        self.pyramid = Pyramid(levels, width)
        self.output = conv(len(levels[0].stride), width, classes, 1)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, K, H, W) or (R, K, S, H, W)}."""
        real = real_slices(encoded, self.reads)
        logits = self.output(self.pyramid(levels_of(encoded, self.count), real).relu())
        return {name: resize(kept(logits, real), view_size(encoded, head="fpn"))}
