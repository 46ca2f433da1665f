"""A linear classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed


class LinearHead(Head):
    """(R, ..., W) -> logits (R, ..., K), starting at zero: every class is equally likely before the first step.

    Args:
        classes: K.
        reads: part that is classified.
        bias: whether the classes have one.
        stage: ``tower`` or ``batch``, see `Head`.

    Example:
        >>> import torch
        >>> rows = Encoded(owner=torch.arange(1), pooled=torch.ones(1, 4))
        >>> LinearHead(in_width=4, classes=3)(rows, "findings")["findings"].tolist()
        [[0.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        classes: Annotated[int, Field(ge=1)],
        reads: str = "pooled",
        bias: bool = True,
        stage: Literal["tower", "batch"] = "tower",
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.stage = stage
        self.width = classes
        self.output = zeroed(nn.Linear(in_width, classes, bias=bias))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, ..., K)}."""
        return {name: self.output(encoded.part(self.reads[0]))}
