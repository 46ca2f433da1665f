"""What became of each file, beside the output and never in it: it names files, and so may name patients."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import refuse_write
from medvlp.core.processes import open_locked


class Journal:
    """JSON Lines of mode 0600: first what was asked for, then one line a file; a file that is there is not done again.

    Args:
        asked: options and the key's fingerprint; another run on the same output must ask for the same.

    Raises:
        UserError: if it was begun otherwise, or another process writes it.
    """

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        self.places: dict[str, str] = {}  # output -> file
        busy = f"Another command writes {path}: wait for it, or name another output folder."
        self._handle = os.fdopen(open_locked(path, busy=busy), "ab", buffering=0)
        try:
            self._read(asked)
        except BaseException:
            self.close()
            raise
        if path.stat().st_size == 0:
            self._write(asked)

    def _read(self, asked: dict[str, Any]) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # it was killed while it wrote the last line
            self._handle.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.decode().splitlines()]
        except ValueError:
            raise DataError(f"{self.path} is damaged: start again with another output folder.") from None
        if lines and lines[0] != asked:
            other = ", ".join(sorted(name for name in asked if lines[0].get(name) != asked[name]))
            raise UserError(f"{self.path} was begun with another {other}: use the same, or another output folder.")
        for line in lines[1:]:
            self._keep(line)

    def done(self, name: str, stamp: str) -> bool:
        """Whether a file of this name and stamp was done; what could not be read, or is no copy now, is tried again."""
        line = self.lines.get(name)
        if line is None or "reason" in line or ("of" in line and line["of"] not in self.places):
            return False
        return line["stamp"] == stamp

    def forget_removed(self, out: Path) -> None:
        """Forget the files whose outputs are no longer in a folder, and the archives that they lie in."""
        for place in [each for each in self.places if not (out / each).is_file()]:
            name = self.places.pop(place)
            while name:
                self.lines.pop(name, None)
                name = name.rpartition("!")[0]

    def stale(self, line: dict[str, Any]) -> str:
        """Return the output of an earlier run of which a file's new line says nothing; empty where there is none."""
        before = str(self.lines.get(line["file"], {}).get("out", ""))
        return before if before != line.get("out") and self.places.get(before) == line["file"] else ""

    def add(self, line: dict[str, Any]) -> None:
        """Record the outcome of one file, after it was written."""
        self._keep(line)
        self._write(line)

    def _keep(self, line: dict[str, Any]) -> None:
        self.places.pop(self.stale(line), None)
        self.lines[line["file"]] = line
        if "out" in line:
            self.places[line["out"]] = line["file"]

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        try:
            while data:
                data = data[self._handle.write(data) :]
            os.fsync(self._handle.fileno())
        except OSError as error:
            refuse_write(error, self.path)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.lines.values())

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def fingerprint(key: bytes) -> str:
    """Eight hex digits that tell two keys apart and give neither away."""
    return hashlib.sha256(b"fingerprint " + key).hexdigest()[:8]
