"""A ResNet whose kernels, strides and pools are those of 2D in depth too: Merlin's tower of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Site
from medvlp.models.encoders._sites import sites_of
from medvlp.models.encoders._volumes import VolumeTower, at_few_slices


class I3ResNet(VolumeTower):
    """Stacks (R, S, 1, H, W) of one depth -> tokens (R, N, W) of the last map; ``pooled`` is their mean.

    Bottlenecks of ResNet (He et al. 2016) inflated (Carreira and Zisserman 2017): kernels of 3 look at three slices,
    and what halves a map in the plane halves it in depth, but the first convolution. The one channel stands in three.
    Merlin (Blankemeier et al. 2024) has ``layers: [3, 8, 36, 3]``, ResNet-152. BatchNorm is over all stacks of a batch.

    Args:
        layers: blocks of each stage.
        width: channels of the first convolution.
        ras: whether rows run to the patient's right and columns to the front while it looks, as Merlin read volumes;
            its map is turned back.

    Example:
        >>> import torch
        >>> tower = I3ResNet(layers=[1, 1, 1, 1], width=8).eval()
        >>> rows = tower(torch.rand(1, 32, 1, 64, 64), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.grid
        (torch.Size([1, 256]), (2, 2, 2))
    """

    name = "i3_resnet"
    empty = (32, 64, 64)

    def __init__(
        self, *, layers: Sequence[int] = (3, 8, 36, 3), width: Annotated[int, Field(ge=1)] = 64, ras: bool = False
    ) -> None:
        super().__init__()
        self.ras = ras
        self.conv1 = nn.Conv3d(3, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        stages, inner = [], width
        for number, blocks in enumerate(layers):
            own = width * 2**number
            made = [
                _Bottleneck(inner if i == 0 else 4 * own, own, 2 if i == 0 and number else 1) for i in range(blocks)
            ]
            stages.append(nn.Sequential(*made))
            inner = 4 * own
        self.stages = nn.ModuleList(stages)
        self.width = self.token_width = inner

    def cells(self, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """See `VolumeTower`."""
        at = values.transpose(1, 2).expand(-1, 3, -1, -1, -1)
        at = at.flip(3, 4).transpose(3, 4) if self.ras else at
        at = self.maxpool(self.bn1(at_few_slices(self.conv1, at)).relu())
        for stage in self.stages:
            at = stage(at)
        at = at.transpose(3, 4).flip(3, 4) if self.ras else at
        tokens = at.flatten(2).transpose(1, 2)
        return tokens.mean(1), tokens, tuple(at.shape[2:])

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`; the blocks are the stages."""
        return sites_of(list(self.stages), self.stages, self.pooled_output)


class _Bottleneck(nn.Module):
    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(inner, width, 1, bias=False), nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3, self.bn3 = nn.Conv3d(width, 4 * width, 1, bias=False), nn.BatchNorm3d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inner != 4 * width:
            shortcut = nn.Conv3d(inner, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(4 * width))

    def forward(self, values: Tensor) -> Tensor:
        at = self.bn2(at_few_slices(self.conv2, self.bn1(self.conv1(values)).relu())).relu()
        return (self.bn3(self.conv3(at)) + self.downsample(values)).relu()
