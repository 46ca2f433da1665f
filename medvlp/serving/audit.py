"""A log of what was done, each line sealed by the hash of the one before: no names, no identifiers, no findings."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import make_folder
from medvlp.core.processes import open_locked

_FIRST = "0" * 64


class AuditLog:
    """Appends JSON lines ``{"time", "event", ..., "previous", "hash"}``.

    Args:
        path: the file, made with mode 0600; an existing one is checked and gone on with. None logs nothing.

    Raises:
        DataError: the existing file was edited.
        UserError: another room writes it, or it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "audit.jsonl")
        >>> AuditLog(path).add("started", model="abc")
        >>> verify(path)
        1
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock, self._last = path, threading.Lock(), _FIRST
        if path is not None:
            make_folder(path.parent)
            busy = f"Another room writes {path}: give this one a log of its own."  # which each line follows
            self._file = os.fdopen(open_locked(path, busy=busy), "ab", buffering=0)
            verify(path)
            lines = path.read_text("utf-8").splitlines()
            self._last = json.loads(lines[-1])["hash"] if lines else _FIRST

    def close(self) -> None:
        """Let another room write the file."""
        if self._path is not None:
            self._file.close()

    def add(self, event: str, **facts: str | int | float | None) -> None:
        """Append one line; the caller sees to it that facts identify nobody.

        Raises:
            OSError: the line cannot be written; the log is as it was before.
        """
        if self._path is None:
            return
        with self._lock:
            line = {"time": round(time.time(), 3), "event": event, **facts, "previous": self._last}
            line["hash"] = seal = _seal(line)
            data, before = (json.dumps(line) + "\n").encode(), os.fstat(self._file.fileno()).st_size
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError:  # a full disk takes a part of the line, which the next one would not follow
                self._file.truncate(before)
                raise
            self._last = seal


def verify(path: Path) -> int:
    """Return the number of lines of an unbroken log.

    Raises:
        DataError: a line was edited, removed or put in.
    """
    last = _FIRST
    lines = path.read_text("utf-8").splitlines()
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            seal = line.pop("hash")
            sound = line["previous"] == last and seal == _seal(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            sound, seal = False, ""
        if not sound:
            raise DataError(f"{path}: line {number} does not follow from the one before: the log was edited; keep it.")
        last = seal
    return len(lines)


def _seal(line: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()
