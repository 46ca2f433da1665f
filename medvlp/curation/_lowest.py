"""A cap that is exact though records are counted in any order: of each group the lowest draws stay (bottom-k)."""

from __future__ import annotations

from array import array

import numpy as np

from medvlp.core.randomness import seed_of

_FEW = 1 << 18  # numbers that wait before they are sorted


class Lowest:
    """The lowest `most` draws of each group, and whether it has more; a record's draw is a function of seed and id.

    A pool of ten million groups takes 160 MB: groups are known by 63 bits of their names, by which two of so many are
    taken for one with a chance of one in 200,000.

    Args:
        most: records of a group that stay.
        seed: of the draws.

    Example:
        >>> one, other = Lowest(1, seed=0), Lowest(1, seed=0)
        >>> one.see("normal", "a"), other.see("normal", "b")
        (None, None)
        >>> one.join(other)
        >>> sum(one.holds("normal", record) for record in "ab"), one.overflows("normal")
        (1, True)
    """

    def __init__(self, most: int, *, seed: int) -> None:
        self.most, self.seed = most, seed
        self._groups, self._draws = np.zeros(0, np.int64), np.zeros(0, np.int64)  # sorted by group, then draw
        self._waiting = array("q")  # group, draw, group, draw, ...

    def see(self, group: str, record: str) -> None:
        """Count a record."""
        self._waiting.extend((seed_of(0, 0, group), seed_of(self.seed, 0, record)))

    def join(self, other: Lowest) -> None:
        """Take in what another part of the pool counted."""
        self._waiting.frombytes(np.stack([other._groups, other._draws], 1).tobytes())
        self._waiting.extend(other._waiting)
        if len(self._waiting) > max(_FEW, 2 * len(self._groups)):
            self._sort()

    def holds(self, group: str, record: str) -> bool:
        """Return whether a counted record is one of those that stay."""
        start, stop = self._span(group)
        return seed_of(self.seed, 0, record) in self._draws[start : min(stop, start + self.most)]

    def overflows(self, group: str) -> bool:
        """Return whether a group has more records than stay."""
        start, stop = self._span(group)
        return stop - start > self.most

    def _span(self, group: str) -> tuple[int, int]:
        if self._waiting:
            self._sort()
        key = seed_of(0, 0, group)
        start, stop = (self._groups.searchsorted(key, side) for side in ("left", "right"))
        return int(start), int(stop)

    def _sort(self) -> None:
        new = np.array(self._waiting).reshape(-1, 2)
        groups, draws = np.append(self._groups, new[:, 0]), np.append(self._draws, new[:, 1])
        order = np.lexsort((draws, groups))
        groups, draws = groups[order], draws[order]
        begins = np.append(True, groups[1:] != groups[:-1])
        once = begins | np.append(True, draws[1:] != draws[:-1])
        groups, draws, begins = groups[once], draws[once], begins[once]
        place = np.arange(len(groups))
        rank = place - np.maximum.accumulate(np.where(begins, place, 0))
        # One more than stay: it tells that there are more.
        self._groups, self._draws = groups[rank <= self.most], draws[rank <= self.most]
        self._waiting = array("q")
