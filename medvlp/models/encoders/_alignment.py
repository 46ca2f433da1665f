"""The alignment of neighbouring frames in front of a block of the encoder `ila` (Tu et al. 2023)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.encoders._frames import Exchange, Frames
from medvlp.models.encoders._volumes import at_few_slices


class Alignment(Exchange):
    """The alignment in front of one block; options as of `Ila`, `prefix` are the tokens without a place."""

    def __init__(self, frames: Frames, *, width: int, prefix: int, hidden: int, spread: float) -> None:
        super().__init__(frames)
        self.prefix, self.spread, half = prefix, spread, hidden // 2
        self.pair = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width), nn.Conv2d(2 * width, hidden, 1), nn.ReLU()
        )
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        first, second = nn.Conv2d(hidden, hidden, 3, padding=1), nn.Conv2d(hidden, hidden, 3, padding=1)
        self.search = nn.Sequential(first, nn.ReLU(), pool, second, nn.ReLU(), pool)
        self.points = nn.Sequential(nn.Conv1d(hidden, half, 1, groups=2), nn.ReLU(), nn.Conv1d(half, 4, 1, groups=2))
        for parameter in self.points[-1].parameters():
            nn.init.zeros_(parameter)
        self.along = nn.Conv3d(half, half, (3, 1, 1), padding=(1, 0, 0))
        self.widen = nn.Linear(half, width)
        self.aligned, self.interactive = zeroed(nn.Linear(width, width)), zeroed(nn.Linear(width, width))

    def before(self, tokens: Tensor) -> Tensor:
        """Add to the patch tokens of (N, P + n, W) what their neighbours make of them."""
        maps = self.frames.unpack(tokens[:, self.prefix :])
        side = math.isqrt(maps.shape[2])
        if side < 3 or side**2 != maps.shape[2]:
            raise ConfigError(
                f"ILA's windows need a square grid of 3 x 3 patches or more, not {maps.shape[2]} patches."
            )
        both = self.frames.real[:, :-1] & self.frames.real[:, 1:]
        between, masks = self._between(maps, side)
        seen = [masks[0] * maps[:, :-1], masks[1] * maps[:, 1:]]  # (R, S - 1, n, W) each
        if self.frames.noting:
            cosine = F.cosine_similarity(seen[0].sum(2), seen[1].sum(2), dim=-1)
            self.frames.noted.append(F.pad(torch.where(both, cosine, 0.0), (0, 1)))
        found = _of_frames(*between, both).permute(0, 3, 1, 2).unflatten(3, (side, side))
        passed = self.widen(at_few_slices(self.along, found).flatten(3).permute(0, 2, 3, 1))  # (R, S, n, W)
        moved = self.aligned(_of_frames(seen[0], seen[1], both)) + self.interactive(passed)
        there = (_beside(both) > 0)[:, :, None, None]
        change = self.frames.pack(torch.where(there, moved, 0.0))
        return torch.cat([tokens[:, : self.prefix], tokens[:, self.prefix :] + change], dim=1)

    def _between(self, maps: Tensor, side: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return I (R, S - 1, n, hidden / 2) and masks (R, S - 1, n, 1) of both frames of the pairs of (R, S, n, W)."""
        rows, pairs = maps.shape[0], maps.shape[1] - 1
        joined = torch.cat([maps[:, :-1], maps[:, 1:]], dim=3).flatten(0, 1)
        found = self.pair(joined.transpose(1, 2).unflatten(2, (side, side)))
        points = 0.75 * self.points(self.search(found).amax((2, 3))[:, :, None])[..., 0].tanh()  # (R (S - 1), 4)
        masks = point_mask(points.unflatten(1, (2, 2)), side, self.spread if self.training else 0.0)
        first, second = masks.flatten(2)[..., None].unflatten(0, (rows, pairs)).unbind(2)
        own, other = found.flatten(2).unflatten(0, (rows, pairs)).chunk(2, dim=2)
        return (own.transpose(2, 3), other.transpose(2, 3)), (first, second)


def point_mask(points: Tensor, side: int, spread: float = 0.0) -> Tensor:
    """Return windows (..., side, side) around points (..., 2), (x, y) in [-1, 1]; cells lie evenly from -1 to 1.

    g(e) = 1 where |e| <= 0.25, else max(0, 1 - 1.5 (|e| - 0.25)); a window is g(x) g(y), averaged over 9 points
    `spread` apart.

    Example:
        >>> (64 * point_mask(torch.zeros(2), 4)[:2]).round(decimals=3).tolist()  # 49 / 64 is (7 / 8)^2
        [[0.0, 0.0, 0.0, 0.0], [0.0, 49.0, 49.0, 0.0]]
    """
    cells = torch.linspace(-1, 1, side, dtype=points.dtype, device=points.device)
    offsets = points.new_tensor([-spread, 0.0, spread] if spread else [0.0])
    distance = (cells[:, None] - points[..., None, None] - offsets).abs()
    near = (1 - 1.5 * (distance - 0.25).clamp_min(0)).clamp_min(0).mean(-1)  # the mean over a grid is the axes' means
    return near[..., 1, :, None] * near[..., 0, None, :]


def _beside(both: Tensor) -> Tensor:
    """Return how many real neighbours a frame has, (R, S), of the pairs (R, S - 1) that are real."""
    return F.pad(both.long(), (0, 1)) + F.pad(both.long(), (1, 0))


def _of_frames(first: Tensor, second: Tensor, both: Tensor) -> Tensor:
    """Return (R, S, ...): the mean over a frame's real pairs of what these say of it, (R, S - 1, ...) each."""
    real = both.view(*both.shape, *[1] * (first.dim() - 2))
    first, second = torch.where(real, first, 0.0), torch.where(real, second, 0.0)
    blank = torch.zeros_like(first[:, :1]) if first.shape[1] else first.new_zeros(len(first), 1, *first.shape[2:])
    total = torch.cat([first, blank], dim=1) + torch.cat([blank, second], dim=1)
    return total / _beside(both).clamp_min(1).view(*total.shape[:2], *[1] * (total.dim() - 2))
