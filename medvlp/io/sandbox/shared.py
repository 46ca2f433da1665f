"""What a reading process and its helper exchange: messages through pipes, code streams and pixels in a file in memory.

A message is a JSON object behind its length. JSON and not pickle: whoever has taken over the helper can say anything,
but nothing that the reader would execute.

The file is anonymous: the helper inherits it, and both sides read and write it by system calls. Against
`multiprocessing.shared_memory`: no name that outlives a crash, no resource tracker that takes it away from a worker,
and nothing is mapped into the reader, whom a helper that shortens a mapped file would kill (SIGBUS). Against the pipe:
one copy and one wake-up for a frame instead of dozens.
"""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import struct
import tempfile
import time
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
        """Make one that has no name."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("medvlp-pixels"), "r+b")
        handle, name = tempfile.mkstemp(prefix="medvlp-pixels-")
        Path(name).unlink()
        return cls(handle, "r+b")

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

    def _write(self, rest: memoryview) -> None:
        while len(rest):
            rest = rest[self.write(rest) :]


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # pyrefly: ignore[bad-argument-type]  (arrays are buffers)


MAX_MESSAGE = 1 << 16
"""Largest message in bytes: no honest one comes near, and a pipe takes it whole."""
_LENGTH = struct.Struct("<I")


def send(pipe: int, message: dict[str, object]) -> None:
    """Write one message.

    Raises:
        OSError: the other side has closed the pipe.
        ValueError: the message is too long, or not plain data.
    """
    text = json.dumps(message, allow_nan=False).encode()
    if len(text) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(text)} bytes")
    rest = memoryview(_LENGTH.pack(len(text)) + text)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int, *, until: float | None = None) -> dict[str, object]:
    """Read one message; `until` is the ``time.monotonic()`` at which to give up, None waits for ever.

    Raises:
        EOFError: the other side has closed the pipe.
        TimeoutError: nothing, or only a part, has come in time.
        ValueError: what came is not a message.
    """
    (size,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size, until))
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    message = json.loads(_exactly(pipe, size, until))
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def _exactly(pipe: int, count: int, until: float | None) -> bytes:
    data = b""
    while len(data) < count:
        if until is not None:
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
        piece = os.read(pipe, count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
