"""``pneumonia_kermany``: paediatric chest X-rays in class folders, names that tell the patient (Kermany et al. 2018).

Two forms are read: the one that most people have (``person12_virus_4.jpeg``, ``NORMAL2-IM-0373-0001.jpeg``), and
version 3 of the source (``VIRUS-4711-0001.jpeg``). A folder below the folder that repeats it, as in the Kaggle archive,
is listed and not read twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.data.layouts._files import list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest

__all__ = ["index"]

Patients = Literal["number", "kind"]

_SPLITS = {"train": "train", "val": "validate", "test": "test"}
_CLASSES = ("NORMAL", "PNEUMONIA")
_PERSON = re.compile(r"person(\d+)_(bacteria|virus)_\d+(?:_\d+)*")
_NORMAL = re.compile(r"(NORMAL2-)?IM-(\d+)-\d+(?:-\d+)*")
_SOURCE = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+")
_LABELS: dict[str, dict[str, int]] = {
    "normal": {"no_finding": 1, "pneumonia": 0, "bacterial_pneumonia": 0, "viral_pneumonia": 0},
    "bacteria": {"no_finding": 0, "pneumonia": 1, "bacterial_pneumonia": 1, "viral_pneumonia": 0},
    "virus": {"no_finding": 0, "pneumonia": 1, "bacterial_pneumonia": 0, "viral_pneumonia": 1},
}


@dataclass(frozen=True)
class _Name:
    kind: str
    patient: str


def index(
    root: Annotated[Path, FromModel("root")],
    *,
    patients: Patients = "number",
) -> Manifest:
    """Index the class folders, one row an image.

    Columns: ``id`` and ``image`` (the path), ``id.patient``, ``split``, ``view_position`` (all are AP), and the labels
    ``no_finding``, ``pneumonia``, ``bacterial_pneumonia``, ``viral_pneumonia``. A file whose name does not tell its
    kind has no label for the two kinds and no patient.

    Args:
        root: the folder ``chest_xray`` or the one above it.
        patients: which file names are one patient: the same ``number``, whether bacteria or virus and whether it begins
            with NORMAL2 or not, which parts no child and may join some; or the same number of the same ``kind``, as the
            names are mostly read.

    Raises:
        DataError: if there are no class folders.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "chest_xray/test/PNEUMONIA").mkdir(parents=True)
        >>> (root / "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg").touch()
        >>> record = index(root).record(0)
        >>> record["id.patient"], record["split"], record["label.viral_pneumonia"]
        ('P1', 'test', 1.0)
    """
    root = Path(root)
    top, copies = _top(root)
    skipped: dict[str, list[str]] = {}
    for copy in copies:
        skip(skipped, "second_copy", copy)
    rows: list[Row] = []
    for path in list_files(root, [f"{top}{split}/{name}" for split in _SPLITS for name in _CLASSES]):
        split, folder, name = path.removeprefix(top).split("/", 2)
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix.lower() not in ("jpeg", "jpg", "png"):
            skip(skipped, "no_image", path)
            continue
        told = _read_name(stem, patients)
        if told is not None and (told.kind == "normal") != (folder == "NORMAL"):
            skip(skipped, "name_contradicts_folder", path)
            continue
        rows.append(_row(path, split, folder, told))
    return manifest_of(rows, root=root, layout="pneumonia_kermany", files=None, skipped=skipped)


def _row(path: str, split: str, folder: str, told: _Name | None) -> Row:
    if told is not None:
        labels = _LABELS[told.kind]
    else:
        labels = _LABELS["normal"] if folder == "NORMAL" else {"no_finding": 0, "pneumonia": 1}
    return {
        "id": path,
        "id.patient": told.patient if told else None,
        "image": path,
        "view_position": "AP",
        "split": _SPLITS[split],
        **{f"label.{finding}": labels.get(finding) for finding in _LABELS["normal"]},
    }


def _top(root: Path) -> tuple[str, list[str]]:
    """Where the folders of the splits are, and where they are once more."""
    places = [
        place
        for place in ("", "chest_xray/", "chest_xray/chest_xray/")
        if any((root / place / split / name).is_dir() for split in _SPLITS for name in _CLASSES)
    ]
    if not places:
        raise DataError(
            f"{root} holds no folder train/NORMAL, train/PNEUMONIA, test/NORMAL or test/PNEUMONIA, nor does its folder "
            "chest_xray: give the unpacked data set as root."
        )
    return places[0], [place.rstrip("/") for place in places[1:]]


def _read_name(stem: str, patients: Patients) -> _Name | None:
    if found := _PERSON.fullmatch(stem):
        return _Name(found[2], f"P{found[1]}" if patients == "number" else f"P{found[1]}-{found[2]}")
    if found := _NORMAL.fullmatch(stem):
        return _Name("normal", f"N{found[2]}" if patients == "number" else f"{found[1] or ''}N{found[2]}")
    if found := _SOURCE.fullmatch(stem):
        kind = found[1].lower()
        return _Name(kind, f"S{found[2]}" if patients == "number" else f"S{found[2]}-{kind}")
    return None
