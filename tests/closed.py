"""A folder that cannot be listed, whoever asks: root may read what is closed to all others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_NAME, _LEVELS = "d" * 250, 17  # together longer than any path that the system takes


@contextmanager
def unlistable(folder: Path) -> Generator[None]:
    """Put a text below a folder where no path leads."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(_LEVELS):
        os.mkdir(_NAME, dir_fd=handle)
        above, handle = handle, os.open(_NAME, os.O_RDONLY, dir_fd=handle)
        os.close(above)
    with open(os.open("b.txt", os.O_WRONLY | os.O_CREAT, dir_fd=handle), "w", encoding="utf-8") as file:
        file.write("Clear lungs.")
    os.close(handle)
    try:
        yield
    finally:
        shutil.rmtree(folder / _NAME)
