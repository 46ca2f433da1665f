"""How far long work has come: a bar on a terminal, elsewhere a line now and then; both on standard error."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

EVERY = 15.0  # seconds between two lines
_STRETCH = 4  # lines that a rate looks back


class Tell(Protocol):
    """What is told how far work has come."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total`, and a few words of the moment."""


@contextmanager
def progress(description: str, *, unit: str = "") -> Iterator[Tell]:
    """Give a callback ``(done, total, note)`` that shows all three, the rate and the time left.

    Work that takes less than 15 seconds writes no line where standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield Lines(description, unit, write=lambda line: print(line, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(description, total=None, rate="", note="")

        def tell(done: int, total: int, note: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.0f} {unit}/s" if speed and unit else ""
            bar.update(task, completed=done, total=total, rate=rate, note=note)

        yield tell


class Lines:
    """Progress as lines, for logs: one every 15 seconds, none before.

    The rate is that of the last minute or so, as some stretches of work are slower than others; work that was resumed
    is not counted as done now.

    Args:
        description: what is done.
        unit: of what is counted.
        write: takes a line.
        clock: seconds.

    Example:
        >>> seconds = iter([0.0, 10.0, 20.0])
        >>> tell = Lines("Reading", "files", write=print, clock=lambda: next(seconds))
        >>> for done in (100, 150, 200):
        ...     tell(done, 1000)
        Reading: 200 of 1,000 files, 5/s, 2 min 40 s left
    """

    def __init__(
        self, description: str, unit: str, *, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._write, self._clock = f"{description}: ", write, clock
        self._unit = f" {unit}" if unit else ""
        self._lines: deque[tuple[float, int]] = deque(maxlen=_STRETCH)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take note, and write a line where it is time."""
        now = self._clock()
        if not self._lines:
            self._lines.append((now, done))
        if now - self._lines[-1][0] < EVERY:
            return
        begin, before = self._lines[0]
        rate = (done - before) / (now - begin)
        self._lines.append((now, done))
        a_second = f"{rate:,.0f}" if rate >= 1 else f"{rate:.2g}"
        left = f", {a_second}/s, {duration((total - done) / rate)} left" if rate > 0 else ""
        self._write(f"{self._start}{done:,} of {total:,}{self._unit}{left}{f', {note}' if note else ''}")


def duration(seconds: float) -> str:
    """Return a duration in words, such as "2 min 5 s".

    Example:
        >>> duration(8.2), duration(75), duration(4020)
        ('8 s', '1 min 15 s', '1 h 7 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
