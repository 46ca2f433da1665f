"""``pneumonia_kermany``: paediatric chest X-rays in class folders, names that tell the patient (Kermany et al. 2018).

Two forms are read: the one that most people have (``person12_virus_4.jpeg``, ``NORMAL2-IM-0373-0001.jpeg``), and
version 3 of the source (``VIRUS-4711-0001.jpeg``). A folder below the folder that repeats it, as in the Kaggle archive,
is listed and not read twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest

_SPLITS = {"train": "train", "val": "validate", "test": "test"}
_CLASSES = ("NORMAL", "PNEUMONIA")
_PERSON = re.compile(r"person(\d+)_(bacteria|virus)_\d+(?:_\d+)*")
_NORMAL = re.compile(r"(NORMAL2-)?IM-(\d+)-\d+(?:-\d+)*")
_SOURCE = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+")
_LABELS: dict[str, dict[str, int]] = {
    "normal": {"no_finding": 1, "pneumonia": 0, "bacterial_pneumonia": 0, "viral_pneumonia": 0},
    "bacteria": {"no_finding": 0, "pneumonia": 1, "bacterial_pneumonia": 1, "viral_pneumonia": 0},
    "virus": {"no_finding": 0, "pneumonia": 1, "bacterial_pneumonia": 0, "viral_pneumonia": 1},
    "unknown": {"no_finding": 0, "pneumonia": 1},
}


def index(root: Root, *, patients: Literal["number", "kind"] = "number") -> Manifest:
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
    """
    top, copies = _top(root)
    skipped = {"second_copy": copies} if copies else {}
    rows: list[Row] = []
    for path in list_files(root, [f"{top}{split}/{name}" for split in _SPLITS for name in _CLASSES]):
        split, folder, name = path.removeprefix(top).split("/", 2)
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix.lower() not in ("jpeg", "jpg", "png"):
            skip(skipped, "no_image", path)
            continue
        kind, patient = _read_name(stem, by_kind=patients == "kind")
        if kind and (kind == "normal") != (folder == "NORMAL"):
            skip(skipped, "name_contradicts_folder", path)
            continue
        labels = _LABELS[kind or {"NORMAL": "normal"}.get(folder, "unknown")]
        rows.append(
            {
                "id": path,
                "id.patient": patient,
                "image": path,
                "view_position": "AP",
                "split": _SPLITS[split],
                **{f"label.{finding}": labels.get(finding) for finding in _LABELS["normal"]},
            }
        )
    return manifest_of(rows, root=root, layout="pneumonia_kermany", files=None, skipped=skipped)


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


def _read_name(stem: str, *, by_kind: bool) -> tuple[str, str | None]:
    """What a file's name tells: normal, bacteria or virus, and the patient."""
    if found := _PERSON.fullmatch(stem):
        return found[2], f"P{found[1]}-{found[2]}" if by_kind else f"P{found[1]}"
    if found := _NORMAL.fullmatch(stem):
        return "normal", f"{found[1] or ''}N{found[2]}" if by_kind else f"N{found[2]}"
    if found := _SOURCE.fullmatch(stem):
        kind = found[1].lower()
        return kind, f"S{found[2]}-{kind}" if by_kind else f"S{found[2]}"
    return "", None
