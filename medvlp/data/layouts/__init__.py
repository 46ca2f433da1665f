"""Layouts: a folder as somebody left it -> `Manifest`; one file each, chosen by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvlp.data.manifest import Manifest
    from medvlp.data.parallel import Progress

__all__ = ["index_cohort"]


def index_cohort(
    layout: str,
    root: Path,
    options: Mapping[str, object] | None = None,
    *,
    where: str = "data.layout",
    progress: Progress | None = None,
) -> Manifest:
    r"""Index a folder by a named layout.

    Args:
        layout: ``hospital``, ``csv``, ``phantom``, or one that another package adds.
        root: the folder.
        options: of the layout, as they stand in a configuration.
        where: they stand, for error sentences.

    Raises:
        ConfigError: for an unknown layout or option, with the nearest name.
        DataError: as the layout says, or if it makes no manifest.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "notes.csv").write_text("case,note\nc1,Clear lungs.\nc1,Effusion.\n")
        >>> manifest = index_cohort("csv", root, {"columns": {"text": "note", "patient_id": "case"}})
        >>> len(manifest), manifest.names
        (2, ('id', 'text', 'id.patient'))
    """
    from medvlp.core.errors import DataError
    from medvlp.core.registry import build
    from medvlp.data.manifest import Manifest

    spec = {**(options or {}), "name": layout}
    made = build("data/layouts", spec, where=where, given={"root": root, "progress": progress})
    if not isinstance(made, Manifest):
        kind = type(made).__name__
        raise DataError(f"The layout {layout!r} gave {kind} and no Manifest: let it return Manifest.of(...).")
    # A synthetic hospital's, which any layout may read, and a part of it alone; folders above may be others' own.
    facts = (folder / "cohort.json" for folder in (made.root.resolve(), *made.root.resolve().parents))
    if any(b'"synthetic": true' in each.read_bytes() for each in facts if os.access(each, os.R_OK) and each.is_file()):
        made.meta["synthetic"] = True
    return made
