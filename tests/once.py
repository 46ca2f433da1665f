"""What is made once for all workers of a test run: they share one folder, and wait for who makes it."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return ``make(folder)``, which is called by the first worker to ask; to be read only.

    Args:
        temporary: of the session.
        name: of the folder; one name, one `make`.
        make: fills the folder and returns something that can be pickled. If it fails, the next to ask tries again.
    """
    base = temporary.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / f"once-{name}", base / f"once-{name}.pickle"
    with (base / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(made.read_bytes())
