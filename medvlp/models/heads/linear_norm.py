"""A linear map and BatchNorm over all rows behind it: what contrasted views are projected by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.heads._batch_norm import RowBatchNorm


class LinearNorm(Head):
    """(R, W) -> BN(A v), (R, D), with the statistics of all rows of all processes while training.

    Args:
        reads: part that is projected.
        width: D; None: the model's `embed_dim`.

    Example:
        >>> import torch
        >>> rows = Encoded(owner=torch.arange(8), pooled=torch.rand(8, 4))
        >>> bool(LinearNorm(in_width=4, embed_dim=2, reads="pooled")(rows, "p")["p"].mean(dim=0).abs().max() < 1e-5)
        True
    """

    stage: Literal["tower", "batch", "call"] = "batch"

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        reads: str = "embedding",
        width: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.width = width or embed_dim
        self.linear = nn.Linear(in_width, self.width, bias=False)  # the norm would take a bias out again
        self.norm = RowBatchNorm(self.width)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, D)}."""
        return {name: self.norm(self.linear(encoded.part(self.reads[0])), encoded.owner)}
