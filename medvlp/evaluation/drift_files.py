"""The images that presets are compared on: files, folders or a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest
from medvlp.data.picture_files import MANIFESTS, files_below

__all__ = ["image_files"]


def image_files(paths: Sequence[Path], *, root: Path | None = None) -> tuple[list[Path], list[str] | None]:
    """Return image files and the patient of each, None where nobody says.

    Args:
        paths: files, folders (all files below them), or one manifest, whose column ``id.patient`` names the patients.
        root: folder of the manifest's images; default: as it says.

    Raises:
        DataError: there is no image.

    Example:
        >>> image_files([Path("a.dcm"), Path("b.dcm")])[1] is None
        True
    """
    if len(paths) == 1 and paths[0].suffix.lower() in MANIFESTS:
        return _of_manifest(Manifest.load(paths[0], root=root), paths[0])
    found = [path for each in paths for path in (files_below(each) if each.is_dir() else [each])]
    if not found:
        raise DataError("There is no image to compare presets on: name files, a folder with files, or a manifest.")
    return found, None


def _of_manifest(manifest: Manifest, source: Path) -> tuple[list[Path], list[str] | None]:
    if "image" not in manifest:
        raise DataError(f"The manifest {source} has no column 'image': presets are compared on images.")
    there = [(k, path) for k in range(len(manifest)) if (path := manifest.path(k)) is not None]
    if not there:
        raise DataError(f"The manifest {source} has no image in its column 'image': presets are compared on images.")
    if "id.patient" not in manifest:
        return [path for _, path in there], None
    owners = manifest.column("id.patient")
    return [path for _, path in there], [str(owners[k]) for k, _ in there]
