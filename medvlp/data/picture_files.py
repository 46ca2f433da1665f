"""Pictures that somebody names: files, folders or manifests, as one list."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import list_files
from medvlp.data.manifest import Manifest
from medvlp.io.errors import UnreadableImage
from medvlp.io.sniff import open_regular, sniff

logger = logging.getLogger(__name__)

MANIFESTS: tuple[str, ...] = (".parquet", ".csv", ".tsv")
ENDINGS: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class PictureFile:
    """One picture, volume or study, and what is known of it.

    Attributes:
        id: of the record; the path where nobody says.
        files: of it; several only of a study that a manifest lists file by file.
        patient: None where it is not known.
        split: None where it stands in none.
        labels: finding -> 1 present, 0 absent, -1 uncertain; unknown ones are left out.
        synthetic: whether a manifest says that nobody stands behind it.
    """

    id: str
    files: tuple[Path, ...]
    patient: str | None = None
    split: str | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    synthetic: bool = False

    @property
    def source(self) -> Path | tuple[Path, ...]:
        """The file or folder, or the files."""
        return self.files[0] if len(self.files) == 1 else self.files

    @property
    def name(self) -> str:
        """What draws are a function of: the id, of a file that nobody names its own name, wherever its folder lies."""
        return self.files[0].name if self.id == str(self.files[0]) else self.id


def picture_files(
    paths: Sequence[Path], *, fields: Sequence[str], studies: bool, root: Path | None = None
) -> list[PictureFile]:
    """Return the pictures of files, folders and manifests, in the order given; those of a folder by their names.

    In a folder files with the endings of pictures and DICOM files are taken or, without any, all; hidden files never.

    Args:
        paths: files, folders, or manifests (Parquet, or CSV with a manifest's column names).
        fields: columns of a manifest that name the files; of a row the first that has any.
        studies: a folder with pictures, none of them NIfTI, is one study and not a folder of pictures.
        root: folder of a manifest's files; None: as it says.

    Example:
        >>> [each.id for each in picture_files([Path("a.dcm"), Path("b.png")], fields=["image"], studies=False)]
        ['a.dcm', 'b.png']
    """
    found: list[PictureFile] = []
    for path in paths:
        if path.suffix.lower() in MANIFESTS:
            found += _rows(Manifest.load(path, root=root), path, fields)
        elif path.is_dir():
            inside = _studies(path) if studies else _images(path)
            if not inside:
                raise DataError(f"The folder {path} holds no picture: name one that does, or single files.")
            found += [PictureFile(str(each), (each,)) for each in inside]
        else:
            found.append(PictureFile(str(path), (path,)))
    return found


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and those in it, without hidden ones and a DICOMDIR."""
    return sorted(path for name in list_files(folder) if (path := folder / name).is_file() and not _passed_over(path))


def _passed_over(path: Path) -> bool:
    """Whether a name is that of a hidden file or of a table of contents."""
    return path.name.startswith(".") or path.name.upper() == "DICOMDIR"


def stack_files(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return a stack's files; of a folder those in it by their names, frame 2 before frame 10.

    Hidden files, a DICOMDIR, and DICOM objects without pixels, such as a study's report, are none.
    """
    if len(paths) != 1 or not paths[0].is_dir():
        return paths
    files = (path for path in paths[0].iterdir() if path.is_file() and not _passed_over(path) and _may_be_seen(path))
    return tuple(sorted(files, key=_by_number))


def _by_number(path: Path) -> tuple[list[int | str], str]:
    """Order of names: their numbers as such, and equal ones by their letters."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)], path.name


def _may_be_seen(path: Path) -> bool:
    """Whether a file is no DICOM object without pixels; what is wrong with another one its reader says."""
    from medvlp.io.dicom_file import parse

    try:
        with open_regular(path) as stream:
            if sniff(stream) == "dicom":
                parse(stream)
    except UnreadableImage as error:
        return error.reason != "no_pixels"
    return True


def _images(folder: Path) -> list[Path]:
    every = files_below(folder)
    return [path for path in every if _is_picture(path)] or every


def _is_picture(path: Path) -> bool:
    """Whether a file has the ending of a picture, or is DICOM by its first bytes, as an archive's without one are."""
    if path.name.lower().endswith(ENDINGS):
        return True
    try:
        with open_regular(path) as stream:
            return sniff(stream) == "dicom"
    except UnreadableImage:
        return False


def _studies(folder: Path) -> list[Path]:
    own = sorted(path for path in folder.iterdir() if not _passed_over(path))
    files = [path for path in own if path.is_file()]
    volumes = [path for path in files if path.name.lower().endswith(_NIFTI)]
    study = [folder] if not volumes and any(map(_is_picture, files)) else []
    found = [*study, *volumes, *(each for path in own if path.is_dir() for each in _studies(path))]
    return found or ([folder] if files else [])


def _rows(manifest: Manifest, source: Path, fields: Sequence[str]) -> list[PictureFile]:
    columns = [name for name in fields if name in manifest]
    if not columns:
        there = ", ".join(manifest.file_columns) or "no files"
        raise DataError(
            f"The manifest {source} has no column {' or '.join(fields)}, which the model looks at (it names {there}): "
            "index the data with such a column, or choose another model."
        )
    column = {name: manifest.column(name) for name in ("id", "id.patient", "split") if name in manifest}
    labels = {name.removeprefix("label."): manifest.column(name) for name in manifest.names_of("label")}
    found, made_up = [], bool(manifest.meta.get("synthetic"))
    for row in range(len(manifest)):
        files = next((paths for name in columns if (paths := manifest.paths(row, name))), ())
        if files:
            known = {name: float(values[row]) for name, values in labels.items() if values[row] == values[row]}
            patient, split = (column[name][row] if name in column else None for name in ("id.patient", "split"))
            found.append(PictureFile(str(column["id"][row]), files, patient, split, known, made_up))
    if not found:
        raise DataError(f"No row of {source} names a file in {' or '.join(columns)}: index the data again.")
    without = len(manifest) - len(found)
    if without:
        logger.warning(
            "%s: %d of %d rows name no file in %s and are left out.",
            *(source, without, len(manifest), " or ".join(columns)),
        )
    return found
