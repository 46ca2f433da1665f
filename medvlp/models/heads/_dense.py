"""What heads that draw maps are made of: levels brought to sizes, convolutions that see no padded slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Level
from medvlp.models.full_precision import at_few_slices

__all__ = [
    "Norm",
    "Solid",
    "conv",
    "kept",
    "level_reads",
    "level_sizes",
    "levels_of",
    "real_slices",
    "resize",
    "view_size",
]


def level_reads(levels: Sequence[Level], *, head: str) -> tuple[str, ...]:
    """Parts that a head over all levels reads; of a stack of slices also which of them are real.

    Raises:
        ConfigError: if the encoder offers no levels.

    Example:
        >>> level_reads((Level(8, (1, 2, 2)), Level(16, (1, 4, 4))), head="unet")
        ('level[0]', 'level[1]', 'mask')
    """
    if not levels:
        raise ConfigError(
            f"Head {head!r} draws maps from the levels of an encoder, and this encoder offers none: choose another, "
            f"such as timm's resnet18."
        )
    # Only where depth is kept can slices be padded: the other encoders of volumes take no padding.
    padded = len(levels[0].stride) == 3 and all(level.stride[0] == 1 for level in levels)
    return (*(f"level[{i}]" for i in range(len(levels))), *(("mask",) if padded else ()))


def levels_of(encoded: Encoded, count: int) -> list[Tensor]:
    """Return the maps, finest first."""
    return [encoded.part(f"level[{i}]") for i in range(count)]


def real_slices(encoded: Encoded, reads: Sequence[str]) -> Tensor | None:
    """Return where slices of a stack are real, (R, 1, S, 1, 1); None where nothing is padded."""
    # An encoder that gives no mask takes no padding.
    return encoded.mask[:, None, :, None, None] if "mask" in reads and encoded.mask is not None else None


def kept(values: Tensor, real: Tensor | None) -> Tensor:
    """Return (R, C, S, H, W) with zeros where slices are padded."""
    return values if real is None else values * real


def view_size(encoded: Encoded, *, head: str) -> tuple[int, ...]:
    """Return the size of the view in pixels.

    Raises:
        ConfigError: if it is not told, as of rows that no model made.
    """
    if encoded.size is None:
        raise ConfigError(
            f"Head {head!r} draws over the view's pixels, and these rows do not tell their size: set size."
        )
    return encoded.size


def level_sizes(maps: Sequence[Tensor], strides: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Sizes at which a decoder joins the levels, finest first: each at least twice as fine as the next.

    A level that is no finer than the one below it is enlarged by two, as UNETR does with the layers of a ViT, which all
    have one stride; axes that no level reduces keep their size.

    Example:
        >>> maps = [torch.zeros(1, 1, 4, 4)] * 3
        >>> level_sizes(maps, [(16, 16)] * 3)
        [(16, 16), (8, 8), (4, 4)]
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

    Example:
        >>> resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).tolist()
        [[[[0.0, 0.25, 0.75, 1.0]]]]
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
        alone: each channel by itself, which is instance norm (Ulyanov et al. 2016).

    Example:
        >>> norm, values = Norm(8), torch.rand(1, 8, 2, 3, 3)
        >>> padded = torch.cat([values, torch.zeros(1, 8, 1, 3, 3)], dim=2)
        >>> real = torch.tensor([True, True, False]).view(1, 1, 3, 1, 1)
        >>> torch.allclose(norm(padded, real)[:, :, :2], norm(values, None), atol=1e-5)
        True
    """

    def __init__(self, channels: int, *, alone: bool = False) -> None:
        super().__init__()
        # At least 4 channels a group: over few cells, statistics of one channel would erase its mean.
        groups = max(g for g in range(1, 33) if channels % g == 0 and (channels // g >= 4 or g == 1))
        groups = channels if alone else groups
        self.inner = nn.GroupNorm(groups, channels)

    def forward(self, values: Tensor, real: Tensor | None) -> Tensor:
        """Normalise (R, C, ...)."""
        if real is None or bool(real.all()):
            return self.inner(values)
        groups = self.inner.num_groups
        wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        grouped, there = wide.unflatten(1, (groups, -1)), real[:, None].to(wide.dtype)
        count = there.sum((2, 3, 4, 5), keepdim=True) * grouped[0, 0, :, 0].numel()
        mean = (grouped * there).sum((2, 3, 4, 5), keepdim=True) / count
        variance = ((grouped - mean).square() * there).sum((2, 3, 4, 5), keepdim=True) / count
        normed = ((grouped - mean) * (variance + self.inner.eps).rsqrt()).flatten(1, 2)
        shape = (1, -1, *[1] * (values.dim() - 2))
        return (normed * self.inner.weight.view(shape) + self.inner.bias.view(shape)).to(values.dtype) * real


class Solid(nn.Module):
    """Two convolutions of three cells, each with a norm and ReLU; padded slices stay zero.

    Args:
        axes: 2 or 3.
        inputs: channels that come in.
        outputs: channels that go out.
        alone: see `Norm`.
    """

    def __init__(self, axes: int, inputs: int, outputs: int, *, alone: bool = False) -> None:
        super().__init__()
        widths = (inputs, outputs, outputs)
        self.convs = nn.ModuleList(conv(axes, a, b, 3, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(Norm(b, alone=alone) for b in widths[1:])

    def forward(self, values: Tensor, real: Tensor | None) -> Tensor:
        """(R, C, ...) -> (R, C', ...)."""
        for layer, norm in zip(self.convs, self.norms, strict=True):
            values = norm(at_few_slices(layer, values), real).relu()
        return values
