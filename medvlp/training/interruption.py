"""SIGTERM, SIGINT and SIGHUP end a run after its step, with a checkpoint."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType
from typing import Any

import torch

from medvlp.core import collectives
from medvlp.core.processes import ending_signals


class Interruption:
    """Context manager that notes the first signal; a second Ctrl-C acts at once.

    A second SIGTERM does not: a cluster's manager and torchrun may both send one for the same reason. Outside the main
    thread there are no signals to catch.

    Attributes:
        name: of the signal that came, such as ``SIGTERM``; None before.

    Example:
        >>> with Interruption() as asked:
        ...     signal.raise_signal(signal.SIGTERM)
        >>> asked.name
        'SIGTERM'
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        """Begin to note signals."""
        with suppress(ValueError):  # not the main thread
            for number in ending_signals():
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        """Handle signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])

    def anywhere(self, device: torch.device) -> bool:
        """Whether a signal came to any process; all must ask."""
        return float(collectives.total(torch.tensor(float(self.name is not None), device=device))) > 0
