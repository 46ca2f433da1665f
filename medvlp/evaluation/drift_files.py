"""The images that presets are compared on: files, folders or a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest

__all__ = ["image_files"]

_MANIFESTS = (".parquet", ".csv", ".tsv")


def image_files(paths: Sequence[Path], *, root: Path | None = None) -> tuple[list[Path], list[str]]:
    """Return image files and the patient of each.

    Args:
        paths: files, folders (all files below them), or one manifest; without a manifest every file is a patient.
        root: folder of the manifest's images; default: as it says.

    Raises:
        DataError: there is no image.
    """
    if len(paths) == 1 and paths[0].suffix.lower() in _MANIFESTS:
        manifest = Manifest.load(paths[0], root=root)
        if "image" not in manifest:
            raise DataError(f"The manifest {paths[0]} has no column 'image': presets are compared on images.")
        found = [manifest.path(k) for k in range(len(manifest))]
        owners = manifest.column("id.patient" if "id.patient" in manifest else "id")
        pairs = [(path, str(owner)) for path, owner in zip(found, owners, strict=True) if path is not None]
    else:
        pairs = [(path, str(path)) for each in paths for path in (_below(each) if each.is_dir() else [each])]
    if not pairs:
        raise DataError("There is no image to compare presets on: name files, a folder with files, or a manifest.")
    return [path for path, _ in pairs], [owner for _, owner in pairs]


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
