"""A head: one file, one class from the parts of a view to more of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class Gated(Head):
    """W x + b, each number times the sigmoid of another linear map: (R, W) -> (R, `out`)."""

    reads = ("pooled",)

    def __init__(self, *, width: Annotated[int, FromModel("width")], out: int = 8) -> None:
        super().__init__()
        self.value, self.gate, self.width = nn.Linear(width, out), nn.Linear(width, out), out

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        rows = encoded.part("pooled")
        return {name: self.value(rows) * self.gate(rows).sigmoid()}
