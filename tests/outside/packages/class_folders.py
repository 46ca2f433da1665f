"""A layout: one file, one function from a folder to records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest

__all__ = ["index"]


def index(root: Annotated[Path, FromModel("root")], *, finding: str = "effusion") -> Manifest:
    """Read ``PATIENT_with.png`` and ``PATIENT_without.png``."""
    names = sorted(path.name for path in Path(root).glob("*.png"))
    return Manifest.of(
        {
            "id": names,
            "image": names,
            "id.patient": [name.split("_")[0] for name in names],
            f"label.{finding}": [float("_with." in name) for name in names],
        },
        root=Path(root),
    )
