"""What heads that draw maps are made of: levels brought to sizes, convolutions that see no padded slice."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, promoted
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head, Level
from medvlp.models.encoders._norm import groups_of
from medvlp.models.encoders._volumes import at_few_slices


class DenseHead(Head):
    """Levels (R, C, h, w) or (R, C, s, h, w) of an encoder -> maps over the view, (R, K, H, W) or (R, K, S, H, W).

    A subclass has a `name`, its component's, and `draw`.

    Raises:
        ConfigError: if the encoder offers no levels.
    """

    reads = ()
    name: str

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        if not levels:
            raise ConfigError(
                f"Head {self.name!r} draws maps from the levels of an encoder, and this encoder offers none: choose "
                f"another, such as timm's resnet18."
            )
        self.count = len(levels)
        # Only where depth is kept can slices be padded: the other encoders of volumes take no padding.
        padded = len(levels[0].stride) == 3 and all(level.stride[0] == 1 for level in levels)
        self.reads = (*(f"level[{i}]" for i in range(self.count)), *(("mask",) if padded else ()))

    @abstractmethod
    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """Return maps of the finest level's size or less, by what their names end in; logits have the head's own.

        Args:
            maps: levels, finest first.
            real: (R, 1, S, 1, 1), where slices of a stack are real; None: everywhere.
            encoded: the rows, for what a head reads beside levels.
        """

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return what is drawn, enlarged linearly to the view; padded slices are zero."""
        if encoded.size is None:
            raise ConfigError(
                f"Head {self.name!r} draws over the view's pixels, and these rows do not tell their size: set size."
            )
        # An encoder that gives no mask takes no padding.
        mask = encoded.mask if "mask" in self.reads else None
        real = None if mask is None else mask[:, None, :, None, None]
        drawn = self.draw([encoded.part(f"level[{i}]") for i in range(self.count)], real, encoded)
        return {f"{name}{end}": resize(real_only(values, real), encoded.size) for end, values in drawn.items()}


def real_only(values: Tensor, real: Tensor | None) -> Tensor:
    """Return (R, C, S, H, W) with zeros where slices are padded."""
    return values if real is None else values * real


def level_sizes(maps: Sequence[Tensor], strides: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return sizes at which a decoder joins the levels, finest first: each at least twice as fine as the next.

    A level that is no finer than the one below it is enlarged by two, as UNETR does with the layers of a ViT; axes that
    no level reduces keep their size.
    """
    sizes, at = [tuple(maps[-1].shape[2:])], strides[-1]
    for level, stride in zip(reversed(maps[:-1]), reversed(strides[:-1]), strict=True):
        own = tuple(level.shape[2:])
        if math.prod(stride) >= math.prod(at):
            own = tuple(n * 2 if s > 1 else n for n, s in zip(sizes[-1], at, strict=True))
            stride = tuple(max(s // 2, 1) for s in at)
        sizes.append(own)
        at = stride
    return sizes[::-1]


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """Bring (R, C, H, W) or (R, C, S, H, W) to a size, linearly along each axis, without corners aligned.

    Three axes are two passes over two: torch has no deterministic gradient of its trilinear kernel on CUDA.
    """
    plane = tuple(size[-2:])
    if values.dim() == 5:
        if values.shape[2] != size[0]:
            thin = values.flatten(3)
            thin = F.interpolate(thin, (size[0], thin.shape[-1]), mode="bilinear", align_corners=False)
            values = thin.unflatten(3, values.shape[3:])
        if values.shape[3:] != plane:
            slices = F.interpolate(values.transpose(1, 2).flatten(0, 1), plane, mode="bilinear", align_corners=False)
            values = slices.unflatten(0, (values.shape[0], values.shape[2])).transpose(1, 2)
        return values
    return values if values.shape[2:] == plane else F.interpolate(values, plane, mode="bilinear", align_corners=False)


def conv(axes: int, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> nn.Module:
    """Return a convolution over two or three axes that keeps the size."""
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    return kind(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


class Norm(nn.Module):
    """GroupNorm (Wu and He 2018) over what is real: rows do not see each other, nor how far they were padded.

    Args:
        channels: C.
        single: each channel by itself, which is instance norm (Ulyanov et al. 2016).
    """

    def __init__(self, channels: int, *, single: bool = False) -> None:
        super().__init__()
        self.inner = nn.GroupNorm(channels if single else groups_of(channels), channels)

    def forward(self, values: Tensor, real: Tensor | None) -> Tensor:
        """Normalise (R, C, ...)."""
        if real is None or bool(real.all()):
            return self.inner(values)
        groups = self.inner.num_groups
        wide = promoted(values)
        grouped, there = wide.unflatten(1, (groups, -1)), real[:, None].to(wide.dtype)
        count = there.sum((2, 3, 4, 5), keepdim=True) * grouped[0, 0, :, 0].numel()
        mean = (grouped * there).sum((2, 3, 4, 5), keepdim=True) / count
        variance = ((grouped - mean).square() * there).sum((2, 3, 4, 5), keepdim=True) / count
        normed = ((grouped - mean) * (variance + self.inner.eps).rsqrt()).flatten(1, 2)
        shape = (1, -1, *[1] * (values.dim() - 2))
        return (normed * self.inner.weight.view(shape) + self.inner.bias.view(shape)).to(values.dtype) * real


class Solid(nn.Module):
    """Two convolutions of three cells over 2 or 3 `axes`, each with a norm and ReLU; padded slices stay zero."""

    def __init__(self, axes: int, inputs: int, outputs: int, *, single: bool = False) -> None:
        super().__init__()
        widths = (inputs, outputs, outputs)
        self.convs = nn.ModuleList(conv(axes, a, b, 3, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(Norm(b, single=single) for b in widths[1:])

    def forward(self, values: Tensor, real: Tensor | None) -> Tensor:
        """(R, C, ...) -> (R, C', ...)."""
        for layer, norm in zip(self.convs, self.norms, strict=True):
            values = norm(at_few_slices(layer, values), real).relu()
        return values


class Pyramid(nn.Module):
    """Levels, finest first -> one map (R, width, ...) of the finest level's size.

    Lin et al. 2017 (FPN): a convolution of one cell brings each level to one width, each gets what lies below it added,
    enlarged, and passes a convolution of three cells. As in the semantic branch of Kirillov et al. 2019 (Panoptic FPN)
    all are then enlarged to the finest and summed, here in one step and without the norms in between.
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
            at = resize(real_only(self.inputs[i](maps[i]), real), sizes[i])
            below = at if below is None else at + resize(below, sizes[i])
            seen = resize(real_only(at_few_slices(self.outputs[i], below), real), sizes[0])
            total = seen if total is None else total + seen
        assert total is not None
        return total
