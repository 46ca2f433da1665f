"""Bytes off the network to a study: streamed into files named by chance, counted, read, unlinked."""

from __future__ import annotations

import secrets
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

from medvlp.core.errors import UserError
from medvlp.serving.studies import MOST_FILES

FRAMED = "application/x-medvlp-files"
"""Content type of several files in one body: each is its length (8 bytes, little endian) and its bytes."""


class TooLarge(UserError):  # noqa: N818
    """An upload beyond the limit."""


class Upload:
    """A private folder for one upload; as a context manager it is gone afterwards, whatever happened.

    Args:
        parent: where to make it, mode 0700.
        most: bytes.
    """

    def __init__(self, parent: Path, most: int) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=parent))
        self._most, self._count = most, 0
        self.paths: list[Path] = []

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    async def receive(self, chunks: AsyncIterator[bytes], *, framed: bool) -> list[Path]:
        """Write a body to files and return them in order.

        Raises:
            TooLarge: there are too many bytes or files.
            UserError: the body of several files is cut off.
        """
        buffer, left, file = bytearray(), 0, None
        try:
            if not framed:
                file, left = self._next(), self._most + 1
            async for chunk in chunks:
                self._count += len(chunk)
                if self._count > self._most:
                    raise TooLarge(f"The upload is larger than {self._most >> 20} MB: send a part of it.")
                buffer += chunk
                while buffer:
                    if file is None:
                        if len(buffer) < 8:
                            break
                        left = struct.unpack("<Q", buffer[:8])[0]
                        del buffer[:8]
                        file = self._next()
                    written = file.write(buffer[:left])
                    del buffer[:written]
                    left -= written
                    if left == 0:
                        file.close()
                        file = None
            if framed and (buffer or file is not None):
                raise UserError("The upload was cut off: send it again.")
        finally:
            if file is not None:
                file.close()
        return self.paths

    def _next(self):  # noqa: ANN202 (a binary file)
        if len(self.paths) >= MOST_FILES:
            raise TooLarge(f"The upload has more than {MOST_FILES} files: send one study.")
        path = self._folder / secrets.token_hex(8)
        self.paths.append(path)
        return open(path, "wb")
