"""A 2D tower inflated to 3D: its convolutions also look at the slices above and below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.encoders.slices import SliceEncoder, unpacked


class InflatedEncoder(SliceEncoder):
    """(R, S, C, H, W) volumes -> tokens (R, S, W), one a slice, mask and position; ``pooled`` is their masked mean.

    Each kernel (k, k) of the 2D tower becomes (depth, k, k), its weights repeated along depth and divided by it (I3D,
    Carreira and Zisserman 2017, section 2.4); kernels of one pixel stay as they are. A volume of equal slices gives
    what the 2D tower makes of one of them, whatever its weights. Depth is not reduced (as in the slow path of SlowFast,
    Feichtenhofer et al. 2019), so slice poolers stand behind this tower as behind `slices`.

    Where nothing is above, below, or real, the taps of a kernel that lie on real slices are scaled up to the whole
    (partial convolution, Liu et al. 2018). Neighbours are neighbours in the stack: give `read_volume` a `slice_mm`, and
    take slices ``even`` or in a ``chunk``. GroupNorm is over a slice, BatchNorm over all real slices of the batch,
    which pass at once: memory grows with their number times the kernels' depth.

    Args:
        slice: component of `models/encoders` for images: ``timm`` with a convolutional architecture.
        depth: of the kernels, in slices.

    Raises:
        ConfigError: if the slice tower is not convolutional, or has convolutions of a kind that cannot be inflated.

    Example:
        >>> tower = InflatedEncoder(slice={"name": "timm", "architecture": "resnet10t", "image_size": 32}).eval()
        >>> stack = torch.rand(1, 1, 1, 32, 32).expand(1, 4, 1, 32, 32)
        >>> four, one = (tower(each, parts=frozenset({"pooled"})).pooled for each in (stack, stack[:, :1]))
        >>> torch.allclose(four, one, atol=1e-5)
        True
    """

    def __init__(
        self,
        *,
        slice: dict[str, Any],
        depth: Literal[3, 5, 7] = 3,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__(slice=slice, seed=seed, where=where)
        if "layers" in self.slice.offers:
            raise ConfigError(
                f"{where}.slice: {slice.get('architecture')!r} is a transformer, and kernels of convolutions are what "
                "is inflated: choose a convolutional architecture such as resnet18, or vision name slices."
            )
        if not _inflate(self.slice, depth, where=f"{where}.slice"):
            raise ConfigError(f"{where}.slice has no convolution larger than a pixel: choose another architecture.")

    def _made(self, values: Tensor, real: Tensor, parts: frozenset[str]) -> dict[str, Tensor]:
        if values.shape[2:] == (self.width, 1, 1):
            raise ConfigError(
                "An inflated tower looks at neighbouring slices, and was given features that were made of each slice "
                "alone: let `read_volume` make the stacks, or choose vision name slices."
            )
        with _neighbours(real):
            packed = self._encode(values[real], parts)
        return {name: unpacked(value, real) for name, value in packed.items()}


def inflate_weights(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with those of 2D kernels inflated where `like` has 3D ones."""
    flat = {name for name, tensor in weights.items() if name in like and (tensor.dim(), like[name].dim()) == (4, 5)}
    return {name: _repeated(w, like[name].shape[2]) if name in flat else w for name, w in weights.items()}


def _repeated(weight: Tensor, depth: int) -> Tensor:
    """(O, I, k, k) -> (O, I, depth, k, k)."""
    return (weight / depth)[:, :, None].repeat(1, 1, depth, 1, 1)


def _inflate(module: nn.Module, depth: int, *, where: str) -> int:
    """Exchange the convolutions below a module; return how many."""
    count = 0
    for name, child in module.named_children():
        if not isinstance(child, nn.Conv2d):
            count += _inflate(child, depth, where=where)
        elif max(child.kernel_size) > 1:
            if type(child) is not nn.Conv2d or child.padding_mode != "zeros":
                raise ConfigError(
                    f"{where}: convolutions of the kind {type(child).__name__} cannot be inflated: choose an "
                    "architecture with plain ones, such as resnet18."
                )
            setattr(module, name, _Inflated(child, depth))
            count += 1
    return count


# A convolution deep in a backbone is given one tensor; the stack (N,) of each packed slice is given here, by thread.
_STACKS: ContextVar[Tensor | None] = ContextVar("stacks", default=None)


@contextmanager
def _neighbours(real: Tensor) -> Iterator[None]:
    token = _STACKS.set(real.nonzero()[:, 0])
    try:
        yield
    finally:
        _STACKS.reset(token)


class _Inflated(nn.Module):
    """A 3D convolution over packed slices (N, C, H, W); outside `_neighbours` each slice is by itself."""

    def __init__(self, flat: nn.Conv2d, depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_repeated(flat.weight.detach(), depth), requires_grad=flat.weight.requires_grad)
        self.bias = flat.bias
        self.stride, self.padding, self.dilation, self.groups = flat.stride, flat.padding, flat.dilation, flat.groups

    def forward(self, slices: Tensor) -> Tensor:
        """Sum over taps t of W_t * x[s + t], over the share of taps on real slices."""
        outs, depth = self.weight.shape[0], self.weight.shape[2]
        # Every tap on every slice in one 2D convolution, then each where it belongs.
        taps = self.weight.transpose(1, 2).flatten(0, 1)
        every = F.conv2d(slices, taps, None, self.stride, self.padding, self.dilation, self.groups)
        every = every.unflatten(1, (outs, depth))
        total = every[:, :, depth // 2]
        found = torch.ones(len(slices), dtype=total.dtype, device=total.device)
        stacks = _STACKS.get()
        for tap in range(depth):
            if tap == depth // 2 or stacks is None:
                continue
            wanted = torch.arange(len(stacks), device=stacks.device) + tap - depth // 2
            place = wanted.clamp(0, len(stacks) - 1)
            share = ((wanted == place) & (stacks[place] == stacks)).to(total.dtype)
            total = total + every[:, :, tap].index_select(0, place) * share[:, None, None, None]
            found = found + share
        total = total * (depth / found)[:, None, None, None]
        return total if self.bias is None else total + self.bias[:, None, None]
