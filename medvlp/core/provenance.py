"""Where a number comes from: hashes of recipe, code and data, and the environment it was made in."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

_SOURCES = (".py", ".yaml", ".csv", ".json")  # rules, words and tables of codes are code
_PACKAGES = ("torch", "torchvision", "timm", "transformers", "monai", "pydicom", "nibabel", "numpy", "scikit-learn")


def hash_of(value: object) -> str:
    """Return 16 hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_hash(*folders: str) -> str:
    """Return the hash of the source files of some folders of the package (all of it without arguments).

    A cache that is keyed by it is never read by other code than wrote it.
    """
    root = Path(__file__).resolve().parent.parent
    files = sorted(p for folder in (folders or (".",)) for p in (root / folder).rglob("*") if p.suffix in _SOURCES)
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def environment() -> dict[str, object]:
    """Return versions, machine and threads; nothing that names a person, a folder or a host."""
    from medvlp import __version__

    packages: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "medvlp": __version__,
        "code": code_hash(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": packages,
    }
