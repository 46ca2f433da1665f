"""``sample_slices``: so many slices of a stack, chosen by where they lie and not by their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample, Stack
from medvlp.data.marks import moved
from medvlp.data.stacks import LazyStack, stack_of
from medvlp.data.views._options import require
from medvlp.io.resize import whole

_ALIKE = 1e-3  # mm: single precision, in which NIfTI keeps places, does not tell two slices apart


@dataclass(frozen=True, kw_only=True)
class SampleSlices:
    """Take `count` slices; a stack with no more than those stays whole.

    The reach of a stack is the way from its first slice to its last in mm, with half a step beyond each end. It is cut
    into `count` equal parts, and a point of each chooses the nearest slice, each slice once:

    * ``even``: the middle of each part. Deterministic: for evaluation and serving, also in a prefix.
    * ``jittered``: one uniform draw in each part.
    * ``chunk``: first a run of `mm` is drawn from the reach, uniformly; its slices are taken, or, if they are more than
      `count`, evenly `count` of them. Of equal steps it has the nearest whole number of slices, or one more.

    Attributes:
        count: most slices.
        how: see above.
        mm: length of a chunk.
        field: the stack field.

    Raises:
        ConfigError: for a field of another kind, a count below 1, a chunk without length, or a length without chunk.

    Example:
        >>> place = torch.tensor([[0.0, 0.0, 2.5 * n] for n in range(10)])
        >>> stack = Stack(torch.arange(10.0).reshape(10, 1, 1, 1), place)
        >>> fields = SampleSlices(count=5)(Sample("a", {"stack": stack}), torch.Generator()).fields
        >>> fields["stack"].pixels.flatten().tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """

    count: int = 32
    how: Literal["even", "jittered", "chunk"] = "even"
    mm: float | None = None
    field: str = "stack"

    def __post_init__(self) -> None:
        fits = parse_field(self.field).kind == "stack" and self.count >= 1 and (self.mm is None or self.mm > 0)
        require(self, fits, "takes at least one slice of a stack field and a length above 0")
        require(self, (self.how == "chunk") == (self.mm is not None), "gives a chunk its length, and nothing else one")

    @property
    def random(self) -> bool:
        """Whether slices are drawn."""
        return self.how != "even"

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Take the slices."""
        stack = sample.fields.get(self.field)
        if not isinstance(stack, LazyStack | Stack):
            return sample
        numbers = self.choose(stack.position, generator)
        return moved(sample, self.field, stack_of(stack, numbers), slices=numbers)

    def choose(self, position: Tensor, generator: torch.Generator) -> list[int]:
        """Return the numbers of the slices, ascending.

        Args:
            position: (S, 3) in mm, along one line.
            generator: used where slices are drawn, by as many numbers as `count` says (one for a chunk).
        """
        depth = len(position)
        draws = torch.rand(self.count if self.how == "jittered" else 1, generator=generator, dtype=torch.float64)
        if depth <= self.count and self.how != "chunk":
            return list(range(depth))
        along = _along(position)
        order = along.argsort(stable=True)
        along = along[order]
        low, high = _reach(along)
        if self.mm is not None:
            start = low + float(draws[0]) * max(0.0, high - low - self.mm)
            inside = (along >= start) & (along <= start + self.mm)
            if int(inside.sum()) < whole(self.mm * depth / (high - low)):  # steps that do not divide it leave one out
                nearest = (along - start - self.mm / 2).abs().masked_fill(inside, torch.inf).argmin()
                run = along[inside.index_fill(0, nearest, True)]
                inside[nearest] |= run[-1] - run[0] <= self.mm
            along, order = along[inside], order[inside]
            if len(order) <= self.count:
                return sorted(order.tolist())
            low, high = _reach(along)
        share = draws if self.how == "jittered" else torch.full((self.count,), 0.5, dtype=torch.float64)
        points = low + (torch.arange(self.count) + share) * ((high - low) / self.count)
        return sorted(order[_nearest(along, points)].tolist())


def _along(position: Tensor) -> Tensor:
    """Return (S,) places in mm along the line of the stack; numbers where all lie at one place."""
    place = position.double() - position.double().mean(0)
    line = place[place.norm(dim=1).argmax()]
    length = line.norm()
    if not float(length) > 0:
        return torch.arange(len(place)).double()
    line = line / length
    return place @ (line if float((place[-1] - place[0]) @ line) >= 0 else -line)


def _reach(along: Tensor) -> tuple[float, float]:
    """Return both ends of ascending places, half a step beyond the first and the last."""
    if len(along) < 2:
        return float(along[0]) - 0.5, float(along[0]) + 0.5
    return float(along[0] - (along[1] - along[0]) / 2), float(along[-1] + (along[-1] - along[-2]) / 2)


def _nearest(along: Tensor, points: Tensor) -> Tensor:
    """Return the slice nearest to each ascending point, each slice once: one that is taken gives way to the next.

    Of two that are equally near it is the first. There are at least as many slices as points.
    """
    after = torch.searchsorted(along, points).clamp(1, len(along) - 1)
    nearest = torch.where(points - along[after - 1] <= along[after] - points + _ALIKE, after - 1, after)
    chosen = nearest.tolist()
    for k in range(1, len(chosen)):
        chosen[k] = max(chosen[k], chosen[k - 1] + 1)
    last = len(along)
    for k in reversed(range(len(chosen))):
        last = chosen[k] = min(chosen[k], last - 1)
    return torch.tensor(chosen)
