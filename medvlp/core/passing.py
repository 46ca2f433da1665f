"""Private temporary folders that are gone afterwards, at the latest when the next one is made."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

_NEW = 60.0  # seconds: a folder may just have been made, and not be held yet
_held: dict[Path, int] = {}


def passing_folder(name: str) -> Path:
    """Make a folder of mode 0700 for what must not stay, such as patients' pixels; `remove_passing` ends it.

    Folders of this kind whose processes were killed are removed, once a process.
    """
    _remove_left(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"medvlp-{name}-", suffix=".held"))
    _held[folder] = os.open(folder, os.O_RDONLY)
    _locked(_held[folder])
    return folder


def remove_passing(folder: Path) -> None:
    """Remove a folder that `passing_folder` made."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder in _held:
        os.close(_held.pop(folder))


@cache
def _remove_left(parent: str) -> None:
    for folder in Path(parent).glob("medvlp-*.held"):
        try:
            facts = folder.stat()
            if facts.st_uid != os.getuid() or time.time() - facts.st_mtime < _NEW:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # its own process was quicker
            continue
        if _locked(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take the lock that says that a folder is in use; False where another has it, or there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
