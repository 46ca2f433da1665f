"""A part under another name, or the mean of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel

__all__ = ["Identity"]


class Identity(Head):
    """(R, ...) -> the same: a tower whose pooled output already is the embedding gives it as ``raw``.

    Args:
        reads: part that is passed on.
        mean: whether its mean over tokens is.

    Example:
        >>> import torch
        >>> Identity(in_width=2)(Encoded(owner=torch.arange(1), pooled=torch.ones(1, 2)), "raw")["raw"].tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self, *, in_width: Annotated[int, FromModel("width")], reads: str = "pooled", mean: bool = False
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.mean = mean
        self.width = in_width

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: what was read}."""
        values = encoded.part(self.reads[0])
        return {name: values.mean(dim=1) if self.mean else values}
