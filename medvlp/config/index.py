"""Index a cohort by a layout named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvlp.config.yaml import override
from medvlp.core.progress import progress
from medvlp.core.registry import build
from medvlp.data.manifest import Manifest

__all__ = ["index_cohort"]


def index_cohort(name: str, root: Path, options: Sequence[str]) -> Manifest:
    """Index a folder.

    Args:
        name: layout.
        root: folder.
        options: of the layout, ``key.path=value``.

    Raises:
        ConfigError: for an unknown layout or option.
        DataError: if the folder is not of that layout.
    """
    spec: dict[str, object] = {"name": name}
    for text in options:
        spec = override(spec, text)
    with progress("Indexing", unit="files") as tell:
        return build("data/layouts", spec, where="options", given={"root": root, "progress": tell})
