"""Files that are complete or absent, and tables of facts in YAML beside the code."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import yaml


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it and rename it, making its folder where needed.

    An interruption or a full disk leaves either the whole file or none; the temporary one is removed.

    Raises:
        OSError: as the file system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def read_facts(name: str) -> dict[str, Any]:
    """Return a YAML file of this package by its name without suffix, lists as tuples."""
    return _frozen(yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")))


def _frozen(node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, dict):
        return {key: _frozen(value) for key, value in node.items()}
    return tuple(node) if isinstance(node, list) else node
