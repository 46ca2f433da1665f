"""What Debian's ``dciodvfy`` (dicom3tools), the strictest free referee of DICOM objects, finds wrong in a file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed: apt-get install dicom3tools"
)


def errors_of(path: Path) -> list[str]:
    """The lines that begin with "Error" of what dciodvfy writes; its warnings are of style."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    told = done.stderr.splitlines()
    assert told, f"dciodvfy said nothing of {path}"
    return [line for line in told if line.startswith("Error")]
