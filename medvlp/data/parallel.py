"""Independent chunks of work over worker processes, results in the order of the chunks, with progress."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from medvlp.core.errors import UserError
from medvlp.core.processes import end_with_parent, leave_signals_to_parent

# Told (done, total) as work goes on.
Progress = Callable[[int, int], None]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Another way to spread chunks than processes of this machine: `medvlp.runs.cluster.over_ray`."""

    def __call__(self, work: Callable[[S, T], R], shared: S, chunks: Sequence[T]) -> Iterator[R]:
        """Yield ``work(shared, chunk)`` for each chunk, in order."""
        ...


# Processes of this machine, 0 for none but this one; or what spreads the work over others.
Workers = int | Spread

_shared: object = None


def notify(progress: Progress | None, done: int, total: int) -> None:
    """Say how far work has come, where somebody asked."""
    if progress is not None:
        progress(done, total)


def start_method() -> str:
    """How worker processes start: ``fork`` where that is safe (the manifest is then shared, not copied), on Linux."""
    return "fork" if sys.platform == "linux" else "spawn"


def usual_workers(asked: int | None = None) -> int:
    """As many as asked for, else one process a core that this one may use, at most 8: a disk has no use for more."""
    if asked is not None:
        return asked
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def chunked(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into runs of `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_chunks(work: Callable[[S, T], R], shared: S, chunks: Sequence[T], *, workers: Workers) -> Iterator[R]:
    """Yield ``work(shared, chunk)`` for each chunk, in order; products of matrices take one thread.

    Many small products on several threads spend their time waiting for each other.

    Args:
        shared: what every call needs; sent to each worker once.
    """
    if not isinstance(workers, int):
        yield from workers(work, shared, chunks)
        return
    if workers <= 0 or len(chunks) < 2:
        for chunk in chunks:
            with threadpool_limits(1, user_api="blas"):
                done = work(shared, chunk)
            yield done
        return
    context = multiprocessing.get_context(start_method())
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_begin, initargs=(shared,))
    waiting: deque[Future[R]] = deque()
    try:
        # A bounded window: a million chunks are not a million pending futures.
        for chunk in chunks:
            waiting.append(pool.submit(_call, work, chunk))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "A worker process was killed from outside, probably for want of memory: start again with fewer workers; "
            "what was finished is kept."
        ) from None
    finally:
        begun = [*pool._processes.values()]
        with suppress(RuntimeError):  # a signal or a limit came before the thread that ends them
            pool.shutdown(wait=True, cancel_futures=True)
        for process in begun:
            process.terminate()


def received(sent: Iterator[T]) -> Iterator[T]:
    """Yield what torch's worker processes send; one that was killed while it sent is told in torch's own words.

    Torch looks who is alive, and the system may not know yet.
    """
    try:
        yield from sent
    except (ConnectionError, EOFError) as error:
        raise RuntimeError(f"DataLoader worker was killed while it sent something: {error}") from error


def _begin(shared: object) -> None:
    # Workers share the cores; and OpenMP after a fork may hang. Work that does without torch does not wait for it.
    threadpool_limits(1, user_api="blas")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"
    leave_signals_to_parent()
    end_with_parent()  # and its decoder with it
    global _shared
    _shared = shared


def _call(work: Callable[[S, T], R], chunk: T) -> R:
    return work(_shared, chunk)  # pyrefly: ignore
