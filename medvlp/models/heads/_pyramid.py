"""A feature pyramid: every level of an encoder sees those below it, and all are summed at the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medvlp.core.protocols import Level
from medvlp.models.heads._dense import conv, kept, level_sizes, resize

__all__ = ["Pyramid"]


class Pyramid(nn.Module):
    """Levels -> one map (R, width, ...) of the finest level's size.

    Lin et al. 2017 (FPN): a convolution of one cell brings each level to one width, each gets what lies below it added,
    enlarged, and passes a convolution of three cells. As in the semantic branch of Kirillov et al. 2019 (Panoptic FPN)
    all are then enlarged to the finest and summed, here in one step and without the norms in between.

    Args:
        levels: finest first.
        width: channels.
    """

    def __init__(self, levels: Sequence[Level], width: int) -> None:
        super().__init__()
        self.strides = [level.stride for level in levels]
        axes = len(self.strides[0])
        self.inputs = nn.ModuleList(conv(axes, level.channels, width, 1) for level in levels)
        self.outputs = nn.ModuleList(conv(axes, width, width, 3) for _ in levels)

    def forward(self, maps: Sequence[Tensor], real: Tensor | None) -> Tensor:
        """Join the maps; padded slices stay zero."""
        sizes = level_sizes(maps, self.strides)
        total = below = None
        for i in reversed(range(len(maps))):
            at = resize(kept(self.inputs[i](maps[i]), real), sizes[i])
            below = at if below is None else at + resize(below, sizes[i])
            seen = resize(kept(self.outputs[i](below), real), sizes[0])
            total = seen if total is None else total + seen
        assert total is not None
        return total
