"""Messages of the package's loggers on a console: each a line of its own, in its own words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("medvlp")


class _Console(logging.Handler):
    def __init__(self, on_stderr: Callable[[str], bool], indented: Callable[[str], bool]) -> None:
        super().__init__()
        self._on_stderr, self._indented = on_stderr, indented

    def emit(self, record: logging.LogRecord) -> None:
        warned = record.levelno >= logging.WARNING or self._on_stderr(record.name)
        indent = "    " if self._indented(record.name) else ""
        print(f"{indent}{self.format(record)}", file=sys.stderr if warned else sys.stdout, flush=True)


def show_messages(
    level: int = logging.INFO,
    *,
    on_stderr: Callable[[str], bool] = lambda name: False,
    indented: Callable[[str], bool] = lambda name: False,
) -> None:
    """Print the messages of medvlp's loggers on the console; replaces an earlier setting.

    Args:
        level: least level that is shown.
        on_stderr: whether a logger of that name writes to standard error, as all do from `logging.WARNING` on.
        indented: whether its lines are indented.

    Example:
        >>> show_messages()
        >>> logging.getLogger("medvlp.example").info("Device cpu: no other is there.")
        Device cpu: no other is there.
    """
    for handler in [each for each in _LOGGER.handlers if isinstance(each, _Console)]:
        _LOGGER.removeHandler(handler)
    _LOGGER.addHandler(_Console(on_stderr, indented))
    _LOGGER.setLevel(level)


@contextmanager
def silent() -> Iterator[None]:
    """Keep messages below a warning back, unless everything is asked for (`logging.DEBUG`)."""
    before = _LOGGER.level
    if before != logging.DEBUG:
        _LOGGER.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        _LOGGER.setLevel(before)
