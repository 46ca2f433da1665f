"""Other people's packages: the metadata of a distribution, and files of its own, in a folder on ``sys.path``."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvlp.core import registry

PACKAGES = Path(__file__).parent / "outside" / "packages"


@contextmanager
def installed(*packages: str, **components: str) -> Iterator[None]:
    """Install a distribution for a while; ``available``, ``component`` and ``schema`` forget it afterwards.

    Args:
        *packages: names of files in ``tests/outside/packages`` that it brings.
        **components: ``name="folder module:Class"``, as ``my_loss="objectives my_package:MyLoss"``.
    """
    sections: dict[str, list[str]] = {}
    for name, said in components.items():
        folder, where = said.split()
        sections.setdefault(f"medvlp.{folder.replace('/', '.')}", []).append(f"{name} = {where}")
    with tempfile.TemporaryDirectory() as site:
        for package in packages:
            shutil.copy(PACKAGES / f"{package}.py", site)
        distribution = Path(site).name  # no two at a time have one name
        told = Path(site) / f"{distribution}-1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        points = "\n".join(f"[{group}]\n" + "\n".join(lines) for group, lines in sections.items())
        (told / "entry_points.txt").write_text(points)
        sys.path.insert(0, site)
        try:
            _forget(packages)
            yield
        finally:
            sys.path.remove(site)
            _forget(packages)


def _forget(packages: tuple[str, ...]) -> None:
    for package in packages:
        sys.modules.pop(package, None)
    importlib.invalidate_caches()
    for cached in (registry.available, registry.component, registry.schema, registry._installed):
        cached.cache_clear()
