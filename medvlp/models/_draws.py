"""First weights by name, and random draws inside a tower by sample, whatever batch, chunk or process it is encoded in.

A draw is a hash of (seed, sample's position, view, row within the sample, name): pass 2 of a step draws what pass 1
drew, and one process draws what four do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.randomness import hashed_uniform, seed_of


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Run a constructor with its own random stream and leave the global one as it was found.

    Initialisers of torch, timm and transformers draw from the global CPU generator, so it is borrowed, not avoided.
    """
    state = torch.random.get_rng_state()
    torch.random.default_generator.manual_seed(seed_of(seed, 0, name))
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


@dataclass
class RowDraws:
    """Draws for the rows that are being encoded.

    Attributes:
        seed: of the run.
        view: being encoded.
        positions: (R,) int64, place of each row's sample in the run's sample stream; -1 for rows without a sample.
        number: (R,) int64, which row of its sample it is; of a bank, which of its texts.
        asked: parts that patches are to give of these rows.
        images: R rows that each ask all texts of a bank, whose rows then are R times its texts; else None.

    Example:
        >>> draws = RowDraws(seed=0)
        >>> draws.enter("image", torch.tensor([5, 9]), torch.tensor([0, 1]))
        >>> together = draws.uniform(3, "drop")
        >>> draws.enter("image", torch.tensor([9]), torch.tensor([0]))
        >>> bool((draws.uniform(3, "drop") == together[1:]).all())
        True
    """

    seed: int = 0
    view: str = ""
    positions: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    number: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    asked: frozenset[str] = frozenset()
    images: Encoded | None = None
    _given: dict[str, list[tuple[str, Tensor]]] = field(default_factory=dict)

    def enter(
        self,
        view: str,
        positions: Tensor,
        owner: Tensor,
        *,
        asked: frozenset[str] = frozenset(),
        images: Encoded | None = None,
    ) -> None:
        """Take in which rows come next: those of `view` whose samples are `owner` (R,), ascending, -1 for none.

        `positions` (B,) are of the batch's samples; `asked` and `images` as the attributes.
        """
        self.asked, self.images, self._given = asked, images, {}
        there = owner.clamp(min=0)
        self.view = view
        own = positions.to(owner.device)[there] if positions.numel() else torch.zeros_like(there)
        self.positions = torch.where(owner >= 0, own, -1)
        # Owners ascend, so a row's number within its sample is its distance from the first row of that owner.
        self.number = torch.arange(owner.shape[0], device=owner.device) - torch.searchsorted(owner, owner)

    def give(self, part: str, who: str, values: Tensor) -> None:
        """Keep what a patch gives of the rows, if anybody asked for it."""
        if part in self.asked:
            self._given.setdefault(part, []).append((who, values))

    def leave(self) -> dict[str, list[tuple[str, Tensor]]]:
        """Return what patches gave of the rows, by part, in the order in which they were passed; the view is left."""
        given = self._given
        self.view, self.asked, self.images, self._given = "", frozenset(), None, {}
        return given

    def turns(self, rows: Iterable[int]) -> Iterator[None]:
        """Let draws be those of the first so many rows, then those of the next."""
        first, whole = 0, (self.positions, self.number)
        for count in rows:
            self.positions, self.number = (each[first : first + count] for each in whole)
            yield
            first += count
        self.positions, self.number = whole

    def uniform(self, count: int, name: str) -> Tensor:
        """Return (R, count) draws in [0, 1), float32."""
        position, number = self.positions.cpu().numpy(), self.number.cpu().numpy()
        draws = hashed_uniform(self.seed, f"{self.view}/{name}", count, position, number)
        return torch.from_numpy(draws).to(self.positions.device)


def normal_of(draws: Tensor) -> Tensor:
    """Return (R, N) standard normal numbers of (R, 2 N) draws in [0, 1), by Box and Muller (1958).

    Example:
        >>> normal_of(torch.tensor([[0.5, 0.0]])).tolist()
        [[1.1774100065231323]]
    """
    first, second = draws.chunk(2, dim=1)
    # 1 - u is in (0, 1], whose logarithm is finite.
    return (-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()
