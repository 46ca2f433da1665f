"""Other people's packages: a module and the metadata of its entry points in a folder on ``sys.path``."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from medvlp.core import registry

PACKAGES = Path(__file__).parent / "packages"


@contextmanager
def installed(folder: Path, package: str, points: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """Install a package of one file for a while; ``available``, ``component`` and ``schema`` forget it afterwards.

    Args:
        folder: becomes its site-packages.
        package: name of a file in ``tests/outside/packages``.
        points: component folder -> component -> name in the file: ``{"objectives": {"my_loss": "MyLoss"}}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGES / f"{package}.py", folder)
    told = folder / f"{package}-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    sections = [
        f"[medvlp.{group.replace('/', '.')}]\n" + "".join(f"{n} = {package}:{c}\n" for n, c in parts.items())
        for group, parts in points.items()
    ]
    (told / "entry_points.txt").write_text("\n".join(sections))
    sys.path.insert(0, str(folder))
    try:
        _forget(package)
        yield
    finally:
        sys.path.remove(str(folder))
        _forget(package)


def _forget(package: str) -> None:
    sys.modules.pop(package, None)
    importlib.invalidate_caches()
    for cached in (registry.available, registry.component, registry.schema):
        cached.cache_clear()
