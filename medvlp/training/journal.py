"""What a run writes down while it goes: JSONL and TensorBoard always, and services that the user names."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from medvlp.core.files import make_folder, refuse_write, write_text
from medvlp.training.tracking import Tracking

LOG, SKIPPED = "log.jsonl", "skipped.jsonl"
_TAIL = 1 << 16  # bytes, more than two rows


class Journal:
    """Appends rows to ``log.jsonl`` and scalars to ``tensorboard/``.

    Args:
        run: the run's folder.
        samples_seen: of the checkpoint that is resumed; later rows of the interrupted run are taken out, since they
            will be written again: of the log those after it, of the skipped steps those that began at it or after.
        active: False on all processes but the first.
        tracking: services that get the rows too.

    Raises:
        UserError: if one of them cannot be started.
    """

    def __init__(self, run: Path, *, samples_seen: int, active: bool = True, tracking: Tracking | None = None) -> None:
        self._path = run / LOG
        self._active = active
        self._started = time.monotonic()
        self._board, self._tracking = None, tracking
        if not active:
            return
        make_folder(run)
        if tracking is not None:
            tracking.start(run, read_journal(self._path) if self._path.exists() else [], samples_seen=samples_seen)
        _cut(self._path, samples_seen + 1)
        _cut(run / SKIPPED, samples_seen)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=samples_seen + 1)

    def write(self, kind: str, samples: int, values: Mapping[str, object]) -> None:
        """Append one row; numbers also go to TensorBoard and the services under ``kind/name``."""
        if not self._active or self._board is None:
            return
        row = {"kind": kind, "samples_seen": samples, "seconds": round(time.monotonic() - self._started, 3), **values}
        append_row(self._path, row)
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, samples)
        if self._tracking is not None:
            self._tracking.write(kind, samples, values)

    def close(self) -> None:
        """Flush TensorBoard, and end the services' runs for now."""
        if self._board is not None:
            self._board.close()
        if self._active and self._tracking is not None:
            self._tracking.close()


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Append one JSON row; a number that is not finite, which JSON does not know, becomes null.

    Raises:
        UserError: when the disk is full.
    """
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    try:
        with open(path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(plain, allow_nan=False) + "\n")
    except OSError as error:
        refuse_write(error, path)


def _cut(path: Path, end: int) -> None:
    """Keep the rows before a number of samples."""
    if path.exists():
        rows = [row for row in read_journal(path) if int(str(row.get("samples_seen", 0))) < end]
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_journal(path: Path, *, start: int = 0) -> list[dict[str, object]]:
    """Return the rows from a byte on; a line that was cut, by a kill or by the start, is left out."""
    rows = []
    with path.open("rb") as handle:
        handle.seek(start)
        for line in handle.read().decode("utf-8", errors="replace").splitlines():
            with suppress(ValueError, RecursionError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def last_row(run: Path) -> dict[str, object]:
    """Return the newest whole row of a run's log, read from its end; empty where there is none."""
    path = run / LOG
    rows = read_journal(path, start=max(0, path.stat().st_size - _TAIL)) if path.is_file() else []
    return rows[-1] if rows else {}
