"""The file in memory through which code streams go to the helper and pixels come back.

An anonymous file that the helper inherits, read and written by system calls on both sides. Against
`multiprocessing.shared_memory`: no name that outlives a crash, no resource tracker that takes it away from a worker,
and nothing is mapped into the reader, whom a helper that shortens a mapped file would kill (SIGBUS). Against the pipe:
one copy and one wake-up for a frame instead of dozens.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

_KEEP = 64 << 20  # bytes of memory that stay with the file from one frame to the next


class SharedFile(io.FileIO):
    """A file that two processes take turns with; a request's bytes begin at 0, the pixels follow behind them.

    Example:
        >>> file = SharedFile.new()
        >>> file.put(b"abc")
        3
        >>> file.add(np.arange(3, dtype=np.uint16), 3)
        >>> file.take(3, (3,), "<u2").tolist()
        [0, 1, 2]
        >>> file.close()
    """

    @classmethod
    def new(cls) -> SharedFile:
        """Make one that has no name (on Windows: a temporary name, removed by `discard`)."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("medvlp-pixels"), "r+b")
        handle, name = tempfile.mkstemp(prefix="medvlp-pixels-")
        if os.name == "nt":
            os.close(handle)
            return cls(name, "r+b")
        Path(name).unlink()
        return cls(handle, "r+b")

    @property
    def address(self) -> str:
        """What the helper opens: the number of an inherited descriptor, or a path."""
        return str(self.fileno()) if isinstance(self.name, int) else str(self.name)

    @classmethod
    def at(cls, address: str) -> SharedFile:
        """Open what another process calls `address`."""
        return cls(int(address) if address.isdecimal() else address, "r+b")

    def put(self, source: bytes | BinaryIO) -> int:
        """Write a request's bytes and return their number; behind those of a stream the file ends."""
        self.seek(0)
        if isinstance(source, bytes):
            # What an earlier frame left behind them stays: its memory is used again, not freed and cleared.
            self._write(memoryview(source))
        else:
            source.seek(0)
            shutil.copyfileobj(source, self, 1 << 20)
            self.truncate(self.tell())
        return self.tell()

    def add(self, array: np.ndarray, start: int) -> None:
        """Write a contiguous array behind `start` bytes."""
        self.seek(start)
        self._write(_bytes_of(array))

    def take(self, start: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Read an array that begins behind `start` bytes, into memory of its own.

        Raises:
            ValueError: the file ends before.
        """
        array = np.empty(shape, dtype)
        rest = _bytes_of(array)
        self.seek(start)
        while len(rest):
            count = self.readinto(rest)
            if not count:
                raise ValueError("the shared file ends before its pixels")
            rest = rest[count:]
        return array

    def slim(self) -> None:
        """Give a large frame's memory back."""
        if os.fstat(self.fileno()).st_size > _KEEP:
            self.truncate(0)

    def discard(self) -> None:
        """Close, and remove the name where there is one."""
        name = self.name
        self.close()
        if sys.platform == "win32" and isinstance(name, str):
            Path(name).unlink(missing_ok=True)

    def _write(self, rest: memoryview) -> None:
        while len(rest):
            rest = rest[self.write(rest) :]


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # pyrefly: ignore[bad-argument-type]  (arrays are buffers)
