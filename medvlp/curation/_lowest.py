"""A cap that is exact though records are counted in any order: of each group the lowest draws stay (bottom-k)."""

from __future__ import annotations

from bisect import insort

from medvlp.core.randomness import seed_of


class Lowest(dict[str, list[int]]):
    """Group -> its lowest `most` draws, in order; a record's draw is a function of seed and id.

    Args:
        most: records of a group that stay.
        seed: of the draws.

    Example:
        >>> one, other = Lowest(1, seed=0), Lowest(1, seed=0)
        >>> one.see("normal", "a"), other.see("normal", "b")
        (None, None)
        >>> one.join(other)
        >>> sum(one.holds("normal", record) for record in "ab")
        1
    """

    def __init__(self, most: int, *, seed: int) -> None:
        super().__init__()
        self.most, self.seed = most, seed

    def see(self, group: str, record: str) -> None:
        """Count a record."""
        self._put(group, self._draw(record))

    def join(self, other: Lowest) -> None:
        """Take in what another part of the pool counted."""
        for group, draws in other.items():
            for draw in draws:
                self._put(group, draw)

    def holds(self, group: str, record: str) -> bool:
        """Return whether a counted record is one of those that stay."""
        return self._draw(record) in self.get(group, ())

    def _draw(self, record: str) -> int:
        return seed_of(self.seed, 0, record)

    def _put(self, group: str, draw: int) -> None:
        draws = self.setdefault(group, [])
        if draw not in draws and (len(draws) < self.most or draw < draws[-1]):
            insort(draws, draw)
            del draws[self.most :]
