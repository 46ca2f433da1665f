"""A ResNet whose kernels, strides and pools are those of 2D in depth too: Merlin's tower of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._sites import block_sites, linear_sites

__all__ = ["I3ResNet"]


class I3ResNet(Encoder):
    """Stacks (R, S, C, H, W) of one depth, C = 1 -> tokens (R, N, W) of the last map; ``pooled`` is their mean.

    Bottlenecks of ResNet (He et al. 2016) inflated (Carreira and Zisserman 2017): kernels of 3 look at three slices,
    and what halves a map in the plane halves it in depth, but the first convolution. The one channel stands in three.
    Merlin (Blankemeier et al. 2024) has ``layers: [3, 8, 36, 3]``, ResNet-152. BatchNorm is over all stacks of a batch.

    Args:
        layers: blocks of each stage.
        width: channels of the first convolution.
        ras: whether rows run to the patient's right and columns to the front while it looks, as Merlin read volumes;
            its map is turned back.

    Raises:
        ConfigError: for stacks of another shape, or of several depths.

    Example:
        >>> tower = I3ResNet(layers=[1, 1, 1, 1], width=8).eval()
        >>> rows = tower(torch.rand(1, 32, 1, 64, 64), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.grid
        (torch.Size([1, 256]), (2, 2, 2))
    """

    kinds = ("stack",)

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
        self.pooled_output = nn.Identity()
        self.width = self.token_width = inner
        self.offers = frozenset({"pooled", "tokens", "mask"})

    def forward(
        self,
        values: Tensor | Sequence[str],
        *,
        parts: frozenset[str],
        mask: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Encoded:
        """Encode stacks; see `Encoder`."""
        if not isinstance(values, Tensor) or values.dim() != 5 or values.shape[2] != 1:
            given = tuple(values.shape) if isinstance(values, Tensor) else "texts"
            raise ConfigError(
                f"The tower i3_resnet takes stacks (R, S, 1, H, W) and was given {given}: change the data's views."
            )
        if mask is not None and not bool(mask.all()):
            raise ConfigError(
                "The tower i3_resnet reads stacks of one depth, and these differ: let read_grid make them."
            )
        at = values.transpose(1, 2).expand(-1, 3, -1, -1, -1)
        at = at.flip(3, 4).transpose(3, 4) if self.ras else at
        at = self.maxpool(self.bn1(self.conv1(at)).relu())
        for stage in self.stages:
            at = stage(at)
        at = at.transpose(3, 4).flip(3, 4) if self.ras else at
        tokens = at.flatten(2).transpose(1, 2)
        return Encoded(
            owner=torch.arange(len(at), device=at.device),
            pooled=self.pooled_output(tokens.mean(1)) if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=at.device),
            grid=tuple(at.shape[2:]),
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`; the blocks are the stages."""
        own = {"pooled.output": Site(self.pooled_output, "after")}
        return {**block_sites(list(self.stages)), **linear_sites(self.stages), **own}

    def blank(self, device: torch.device) -> Tensor:
        """One stack of zeros."""
        return torch.zeros(1, 32, 1, 64, 64, device=device)


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
        at = self.bn2(self.conv2(self.bn1(self.conv1(values)).relu())).relu()
        return (self.bn3(self.conv3(at)) + self.downsample(values)).relu()
