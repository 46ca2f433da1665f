"""A feature pyramid over the levels of any encoder, and a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.heads._dense import DenseHead, Pyramid, conv


class FpnHead(DenseHead):
    """Levels -> logits of pixels by semantic FPN: a `Pyramid`, ReLU and a convolution of one cell; see `DenseHead`.

    Cheaper than ``unet``, and without norms: a pixel depends on nothing beyond the reach of its convolutions.

    Args:
        classes: K.
        width: channels of the pyramid.

    Example:
        >>> import torch
        >>> head = FpnHead(levels=(Level(4, (2, 2)), Level(8, (4, 4))), classes=3, width=8)
        >>> maps = {"level[0]": torch.rand(1, 4, 8, 8), "level[1]": torch.rand(1, 8, 4, 4)}
        >>> head(Encoded(owner=torch.arange(1), size=(16, 16), extra=maps), "lesions")["lesions"].shape
        torch.Size([1, 3, 16, 16])
    """

    name = "fpn"

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        classes: Annotated[int, Field(ge=1)],
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(levels)
        self.pyramid = Pyramid(levels, width)
        self.output = conv(len(levels[0].stride), width, classes, 1)

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """See `DenseHead`."""
        return {"": self.output(self.pyramid(maps, real).relu())}
