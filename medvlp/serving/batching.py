"""Dynamic batching: what several threads ask of a model at one time goes through it together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from medvlp.core.errors import ConfigError

Item = TypeVar("Item")
Given = TypeVar("Given")
_Waiting = tuple[Item, Future[Given]]


class BatchingQueue(Generic[Item, Given]):
    """Joins calls into batches, which one thread computes: what comes while one is computed is the next.

    Nobody waits for company: a call that finds nothing under way is computed at once, alone. Of a batch that fails each
    item is computed alone, so that one that cannot be is nobody else's error.

    Args:
        work: items -> as many results, each what it is alone but for rounding: embeddings are, and a score that is made
            over its batch is not.
        most: items of a batch.

    Raises:
        ConfigError: if `most` is below 1.

    Example:
        >>> double = BatchingQueue(lambda numbers: [2 * number for number in numbers])
        >>> double(4), double.submit(5).result()
        (8, 10)
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Given]], *, most: int = 32) -> None:
        if most < 1:
            raise ConfigError(f"most is {most}, and a batch has an item: give 1 or more.")
        self._work, self._most = work, most
        self._waiting: deque[_Waiting[Item, Given]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, item: Item) -> Given:
        """Return an item's result, or raise what `work` raises for it alone."""
        return self.submit(item).result()

    def submit(self, item: Item) -> Future[Given]:
        """Return at once what will hold an item's result; ``await asyncio.wrap_future(...)`` waits without a thread."""
        future: Future[Given] = Future()
        self._waiting.append((item, future))
        self._thread.submit(self._next)  # once an item: of those that went along with others it finds nothing to do
        return future

    def _next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        if batch := [each for each in batch if each[1].set_running_or_notify_cancel()]:
            self._compute(batch)

    def _compute(self, batch: Sequence[_Waiting[Item, Given]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
            made = list(zip(batch, results, strict=True))
        except BaseException as error:  # whoever waits must hear of it
            for each in batch if len(batch) > 1 else ():
                self._compute([each])
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            return
        for (_, future), result in made:
            future.set_result(result)
