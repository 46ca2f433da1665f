"""PixPro's pixel propagation: each token becomes a mean of what similar tokens of the same picture say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class PixelPropagation(Head):
    r"""(R, N, W) -> (R, N, W): y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j), g a linear map.

    Args:
        reads: part that is read.
        gamma: sharpness; 2 in the paper.
        stage: that of the head it reads.

    References:
        Xie et al. 2021 (PixPro), eq. 3 and 4. Their code also brings each g(x_j) to unit length before the sum.

    Example:
        >>> import torch
        >>> head = PixelPropagation(in_width=2, reads="tokens")
        >>> nn.init.eye_(head.transform.weight), nn.init.zeros_(head.transform.bias)  # doctest: +ELLIPSIS
        (...)
        >>> rows = Encoded(owner=torch.arange(1), tokens=torch.tensor([[[3.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]))
        >>> head(rows, "y")["y"].tolist()
        [[[4.0, 0.0], [4.0, 0.0], [0.0, 1.0]]]
    """

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        reads: str = "tokens",
        gamma: Annotated[float, Field(gt=0)] = 2.0,
        stage: Literal["tower", "batch"] = "batch",
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.stage = stage
        self.gamma = gamma
        self.width = in_width
        self.transform = nn.Linear(in_width, in_width)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, N, W)}."""
        values = encoded.part(self.reads[0])
        direction = unit(values)
        alike = (direction @ direction.transpose(1, 2)).clamp(min=0).pow(self.gamma)
        return {name: alike.to(values.dtype) @ self.transform(values)}
