"""Messages between a reading process and its helper: a JSON object behind its length; pixels lie in a shared file.

JSON and not pickle: whoever has taken over the helper can say anything, but nothing that the reader would execute.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time

MAX_MESSAGE = 1 << 16
"""Largest message in bytes: no honest one comes near, and a pipe takes it whole."""
_LENGTH = struct.Struct("<I")


def send(pipe: int, message: dict[str, object]) -> None:
    """Write one message.

    Raises:
        OSError: the other side has closed the pipe.
        ValueError: the message is too long, or not plain data.

    Example:
        >>> reader, writer = os.pipe()
        >>> send(writer, {"size": 3})
        >>> receive(reader)
        {'size': 3}
    """
    text = json.dumps(message, allow_nan=False).encode()
    if len(text) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(text)} bytes")
    rest = memoryview(_LENGTH.pack(len(text)) + text)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int, *, until: float | None = None) -> dict[str, object]:
    """Read one message.

    Args:
        pipe: file descriptor to read from.
        until: ``time.monotonic()`` at which to give up; None waits for ever.

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
            _wait(pipe, until)
        piece = os.read(pipe, count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _wait(pipe: int, until: float) -> None:
    if not hasattr(select, "poll"):  # Windows cannot wait for a pipe: there the client ends the helper in time
        return
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError
