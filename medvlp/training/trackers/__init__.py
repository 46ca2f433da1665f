"""Services that a run's rows go to, one file each; `medvlp.training.tracking` decides what they get and when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["Tracker"]


class Tracker(Protocol):
    """A service. It may raise what it likes: at its start that ends the command, later it ends the tracking alone."""

    def start(self, *, folder: Path, name: str, configuration: Mapping[str, object], resume: str | None) -> str:
        """Begin a run there, or go on with it.

        Args:
            folder: the run's, where what stays on this machine may be written.
            name: made up once for a run; says nothing of what it is about.
            configuration: plain values, places left out.
            resume: what an earlier start returned; None for a new run.

        Returns:
            By what the service knows the run.
        """
        ...

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Send finite numbers, named ``kind/name``, with samples seen as their step."""
        ...

    def close(self) -> None:
        """End the run there, for now."""
        ...
