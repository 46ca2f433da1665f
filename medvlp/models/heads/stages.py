"""What a convolutional tower pools, and means and maxima of its last stages beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head, Level
from medvlp.core.registry import FromModel


class StagePool(Head):
    """Pooled (R, W) and levels (R, C, h, w) -> (R, W + 2 sum C): the mean and the maximum of each map beside W.

    Earlier stages see texture that the last one, trained for objects of photographs, has lost. Nothing is learnt.

    Args:
        stages: how many of the levels, counted from the last.

    Raises:
        ConfigError: if the encoder offers fewer levels.

    Example:
        >>> head = StagePool(in_width=1, levels=(Level(1, (2, 2)),), stages=1)
        >>> maps = {"level[0]": torch.tensor([[[[1.0, 3.0]]]])}
        >>> head(Encoded(owner=torch.arange(1), pooled=torch.ones(1, 1), extra=maps), "raw")["raw"].tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        levels: Annotated[Sequence[Level], FromModel("levels")],
        stages: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__()
        if stages > len(levels):
            raise ConfigError(f"stages is {stages} and the encoder offers {len(levels)} levels: choose fewer.")
        first = len(levels) - stages
        self.reads = ("pooled", *(f"level[{at}]" for at in range(first, len(levels))))
        self.width = in_width + 2 * sum(level.channels for level in levels[first:])

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, W + 2 sum C)}."""
        pooled, *maps = (encoded.part(part) for part in self.reads)
        flat = [each.flatten(2) for each in maps]
        return {name: torch.cat([pooled, *(each.mean(2) for each in flat), *(each.amax(2) for each in flat)], dim=1)}
