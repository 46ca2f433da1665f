"""A tower's vector with the code of a small autoencoder beside it: the visual vector of MEVF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel

_SIDE = 128  # pixels of the gray copy, halved twice


class Autoencoded(Head):
    """(R, W) -> (R, W + D): beside the tower's vector the code of the image in gray, 128 x 128.

    Three convolutions and a linear layer make the code; a decoder draws the gray copy again from the last convolution's
    map, for the objective `autoencode` (Nguyen et al. 2019). Beside the vector it gives ``NAME_gray``, the copy as the
    tower's own pixels are scaled, and ``NAME_decoded``, both (R, 128, 128).

    Args:
        reads: vector of the tower, or of a head.
        code: D; 64 as published.

    Raises:
        ConfigError: for stacks and volumes.

    Example:
        >>> head = Autoencoded(in_width=3, code=4)
        >>> rows = Encoded(owner=torch.arange(2), pooled=torch.rand(2, 3), pixels=torch.rand(2, 1, 32, 32))
        >>> {part: tuple(values.shape) for part, values in head(rows, "seen").items()}
        {'seen': (2, 7), 'seen_decoded': (2, 128, 128), 'seen_gray': (2, 128, 128)}
    """

    gives = ("decoded", "gray")

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        reads: str = "pooled",
        code: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.width = in_width + code
        stages = [nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 64), (64, 32), (32, 16))]
        self.encoder = nn.Sequential(
            stages[0], nn.ReLU(), nn.MaxPool2d(2), stages[1], nn.ReLU(), nn.MaxPool2d(2), stages[2], nn.ReLU()
        )
        self.code = nn.Linear(16 * (_SIDE // 4) ** 2, code)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 32, 2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 64, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 1, 3, padding=1),
        )

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, W + D), name_decoded: (R, 128, 128), name_gray: (R, 128, 128)}."""
        pixels = encoded.pixels
        if pixels is None or pixels.dim() != 4:
            raise ConfigError(f"The head {name!r} looks at images, and these are none: mount it as image/{name}.")
        gray = pixels.mean(dim=1, keepdim=True)
        gray = F.interpolate(gray, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True)
        coded = self.encoder(gray)
        vector = encoded.part(self.reads[0])
        seen = torch.cat([vector, self.code(coded.flatten(1)).to(vector.dtype)], dim=1)
        return {name: seen, f"{name}_decoded": self.decoder(coded)[:, 0], f"{name}_gray": gray[:, 0]}
