"""How much of the time training waits for data: what tells too few readers from a slow model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_MEMORY = 0.98  # of each step's seconds at the next one: the last fifty steps count
_WORTH_SAYING = 0.1


class Stalls:
    """The share of the last steps' time in which a loop waited for its next batch.

    Args:
        clock: seconds.

    Example:
        >>> seconds = iter([0.0, 3.0, 4.0, 4.0])  # asks, has a batch, asks again, has none
        >>> stalls = Stalls(clock=lambda: next(seconds))
        >>> for batch in stalls.watch(["a"]):
        ...     pass
        >>> stalls.share, stalls.note
        (0.75, 'waits for data 75 % of the time')
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._waited = self._passed = 0.0

    def watch(self, batches: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the batches, taking the time of each wait and of what is done with a batch."""
        source = iter(batches)
        while True:
            asked = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            waited = self._clock() - asked
            yield batch
            self._waited = _MEMORY * self._waited + waited
            self._passed = _MEMORY * self._passed + waited
            self._passed += self._clock() - asked - waited

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self._waited / self._passed if self._passed else 0.0

    @property
    def note(self) -> str:
        """The share in words, where it is a tenth or more."""
        return f"waits for data {100 * self.share:.0f} % of the time" if self.share >= _WORTH_SAYING else ""
