"""ILA (Tu et al. 2023): neighbouring frames are aligned at a point of each, in every block of a vision transformer."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.encoders._frames import Exchange, FrameEncoder, Frames
from medvlp.models.encoders._volumes import at_few_slices


class Ila(FrameEncoder):
    r"""(R, S, C, H, W) frames -> tokens (R, S, W), one a frame; in front of each block neighbours are aligned.

    Of frames s and s + 1, with maps x_s, x_t of their patch tokens (h, w), g(e) as in `point_mask`::

        I_s, I_t = halves of conv([x_s, x_t])               what the two have to do with each other, (h, w) each
        p, q     = 3/4 tanh(network(max over cells of I))   a point of each frame, (0, 0) at first
        M_s x_s, M_t x_t                                    frames seen through a window around their points
        x_s <- x_s + Z1(M_s x_s) + Z2(Linear(Conv3d(I)_s))  frames with two neighbours take the mean of both pairs

    Z1 and Z2 start at zero: then the tower is its own. A frame without a real neighbour stays as it is. The part
    ``alignment`` (R, S, L) is the cosine, in each of L blocks, between the sums of M_s x_s and of M_t x_t over all
    cells, at frame s; the objective ``ila`` draws it to 1.

    Args:
        slice: a vision transformer of timm with a class token and a grid of at least 3 x 3 patches.
        hidden: channels of I, both halves together; 256 in the paper.
        spread: while training masks are averaged over 9 points, this far apart; 0: one point. The paper halves it every
            epoch from the 30th, which is left to a second phase here.
        chunk: frames at a time where the tower is not trained; a stack is never cut.

    Raises:
        ConfigError: for a tower without class token, a smaller grid, or stacks of features instead of pixels.

    References:
        Tu et al. 2023 (ILA, ICCV), section 3, in the form of its released code: the masked maps are added, where the
        paper pools them into one more token. That code puts a linear layer and a norm in front of x_s and x_t, and its
        networks of I and of the points have BatchNorms and further layers; their sizes are ours.

    Note:
        A point moves freely: where a cine shows nothing that moves, windows drift to borders and burnt-in text. Look at
        points before believing that the model follows a valve; slices of a volume are aligned as if they moved.

    Example:
        >>> vit = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 64}
        >>> tower = Ila(slice={**vit, "options": {"embed_dim": 16, "depth": 2, "num_heads": 2}}, hidden=8).eval()
        >>> import torch
        >>> frame = torch.rand(1, 1, 1, 64, 64)
        >>> rows = tower(frame.repeat(1, 3, 1, 1, 1), parts=frozenset({"tokens", "alignment"}))  # three times the same
        >>> rows.part("alignment")[0].round(decimals=4).tolist()
        [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    """

    beside = frozenset({"patches", "alignment"})

    def __init__(
        self,
        *,
        slice: dict[str, Any],
        hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 256,
        spread: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        chunk: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__(slice=slice, chunk=chunk, seed=seed, where=where)
        self.alignments = nn.ModuleList()
        for block in self.blocks():
            one = Alignment(self.frames, width=self.slice.token_width, prefix=self.prefix, hidden=hidden, spread=spread)
            one.join(block)
            self.alignments.append(one)


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
