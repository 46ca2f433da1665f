"""A part under another name, or the mean of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._text import mean_of


class Identity(Head):
    """(R, ...) -> the same: a tower whose pooled output already is the embedding gives it as ``raw``.

    Args:
        reads: part that is passed on.
        mean: whether its mean over tokens is, over real ones where it is the tower's ``tokens``.

    Example:
        >>> import torch
        >>> Identity(in_width=2)(Encoded(owner=torch.arange(1), pooled=torch.ones(1, 2)), "raw")["raw"].tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self, *, in_width: Annotated[int, FromModel("width")], reads: str = "pooled", mean: bool = False
    ) -> None:
        super().__init__()
        self.reads = (reads, "mask") if mean and reads == "tokens" else (reads,)
        self.mean = mean
        self.width = in_width

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: what was read}."""
        values = encoded.part(self.reads[0])
        return {name: mean_of(values, encoded, self.reads) if self.mean else values}
