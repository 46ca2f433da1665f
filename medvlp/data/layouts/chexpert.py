"""``chexpert``: CheXpert-v1.0, small or full, with its validation labels and the test labels that came later."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.data.cards import load_card
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import OnProgress, Root, list_files
from medvlp.data.layouts._published import find_table, label_columns, optional_table, published_manifest
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import Table, read_table

Part = Literal["train", "validate", "test"]

# Names of each part's label table: of the first release, of CheXlocalize, and of the test labels' own repository.
_TABLES: dict[Part, tuple[str, ...]] = {
    "train": ("train.csv",),
    "validate": ("valid.csv", "val_labels.csv"),
    "test": ("test_labels.csv", "test.csv", "groundtruth.csv"),
}
_IMAGE = re.compile(r"(patient\d+)/(study\d+)/(view\d+_(frontal|lateral))\.(?:jpe?g|png|dcm)$", re.IGNORECASE)
_STUDY = re.compile(r"(patient\d+)/(study\d+)/?$")
_PATIENT = re.compile(r"patient\d+")
_SEX = {"Male": "M", "Female": "F"}  # one patient is "Unknown"
_DEEPEST = 4  # levels of folders that are searched for patients


def index(
    root: Root,
    *,
    parts: tuple[Part, ...] = (),
    tables: dict[Part, str] | None = None,
    frontal_only: bool = False,
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index CheXpert, one row an image.

    The paths of the tables begin with the name of one release (``CheXpert-v1.0-small/train/...``) whatever the folder
    is called: images are found by patient, study and view, also in the folders of the full release
    (``CheXpert-v1.0 batch 2 (train 1)/patient00001/...``).

    Columns: ``id`` and ``image``, ``id.patient`` and ``id.study`` (from the path), ``label.FINDING`` (14: 1, 0, -1 or
    missing, never filled up), ``split``, ``view_position`` (as the table says; LATERAL where it says no more),
    ``frontal`` (from the file's name), ``sex`` (missing for the one that is "Unknown"), ``age`` (0 means unknown and is
    missing; 90 means 90 and above), ``source``, ``deidentified``. The test labels have neither age nor sex.

    Args:
        root: the release's folder, or the one above it.
        parts: wanted ones of train, validate, test; empty for those whose table is there.
        tables: part -> label table below root, where another one is wanted (``{train: train_cheXbert.csv}``).
        frontal_only: leave lateral views out, and list them.
        require_files: leave out rows whose image is not there, and list them; false for the labels alone.
        workers: processes for listing folders.

    Raises:
        DataError: if the release is not as it was published, or nothing of it is there.
    """
    found = _tables(root, parts, tables or {})
    files = _files(root, workers, progress)
    columns: dict[str, list[object]] = {}
    for part, table in found.items():
        some = _part(part, table, files)
        before = len(columns.get("id", ()))
        for name in dict.fromkeys((*columns, *some)):
            here = some.get(name, [None] * len(some["id"]))
            columns[name] = [*columns.get(name, [None] * before), *here]
    reasons = [
        "lateral_view" if frontal_only and side is False else "missing_file" if require_files and path is None else ""
        for side, path in zip(columns["frontal"], columns["image"], strict=True)
    ]
    meta = {
        "layout": "chexpert",
        "tables": [table.path.relative_to(root).as_posix() for table in found.values()],
        "ages_of_0_as_missing": sum(t.column("Age").count("0") for t in found.values() if "Age" in t.names),
    }
    first = next(iter(found.values())).path
    return published_manifest(columns, root=root, reasons=reasons, source=str(first), meta=meta)


def _tables(root: Path, parts: Sequence[Part], named: Mapping[Part, str]) -> dict[Part, Table]:
    """Read the label tables that are wanted, or those that are there."""
    found: dict[Part, Table] = {}
    for part, names in _TABLES.items():
        if part in named:
            found[part] = read_table(root / named[part])
        elif part in parts:
            found[part] = read_table(find_table(root, names, what=f"label table of CheXpert's part {part}"))
        elif not parts and (path := optional_table(root, names)) is not None:
            found[part] = read_table(path)
    if not found:  # says what is looked for
        find_table(root, [name for names in _TABLES.values() for name in names], what="label table of CheXpert")
    return {part: table for part, table in found.items() if not parts or part in parts}


def _files(root: Path, workers: int, progress: Progress | None) -> dict[str, str]:
    """Return patient/study/view -> path."""
    files: dict[str, str] = {}
    folders = _patients(root)
    for path in list_files(
        root, folders, suffixes=(".jpg", ".jpeg", ".png", ".dcm"), workers=workers, progress=progress
    ):
        match = _IMAGE.search(path)
        if match is None:
            continue
        key = "/".join(match.group(1, 2, 3))
        if key in files:
            raise DataError(
                f"{root} holds two files of one view ({files[key]} and {path}): give the folder of one release as root."
            )
        files[key] = path
    return files


def _patients(root: Path) -> list[str]:
    """Folders of patients, however the release names the folders above them."""
    found: list[str] = []
    level = [""]
    for _ in range(_DEEPEST):
        deeper = []
        for folder in level:
            with os.scandir(root / folder) as entries:
                names = [f"{folder}{e.name}" for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != "."]
            for name in names:
                (found if _PATIENT.fullmatch(name.rpartition("/")[2]) else deeper).append(name)
        level = [f"{name}/" for name in deeper]
    return sorted(found)


def _part(part: Part, table: Table, files: Mapping[str, str]) -> dict[str, Sequence[object]]:
    """The columns of one part: a row an image, also where the table has a row a study."""
    by_study = "Path" not in table.names and "Study" in table.names
    places = table.column("Study" if by_study else "Path")
    rows: Sequence[int] = range(len(places))
    keys = [_key(table, row, places[row], by_study) for row in rows]
    if by_study:
        views = grouped((key.rpartition("/")[0], key) for key in sorted(files))
        rows, keys = zip(*((row, view) for row, key in enumerate(keys) for view in views.get(key, [key])), strict=True)
    frontal = [None if by_study and key not in files else "_frontal" in key for key in keys]
    labels = label_columns(table, load_card("chexpert").labels)
    positions, ages, sexes = (table.column_or(name) for name in ("AP/PA", "Age", "Sex"))
    folder = "valid" if part == "validate" else part
    return {
        "id": [f"{folder}/{key}" for key in keys],
        "id.patient": [key.split("/")[0] for key in keys],
        "id.study": ["/".join(key.split("/")[:2]) for key in keys],
        "image": [files.get(key) for key in keys],
        **{name: [column[row] for row in rows] for name, column in labels.items()},
        "split": [part] * len(keys),
        "view_position": [
            positions[row] or ("LATERAL" if side is False else None) for row, side in zip(rows, frontal, strict=True)
        ],
        "frontal": frontal,
        "sex": [_SEX.get(sexes[row]) for row in rows],
        "age": [years(ages[row]) or None for row in rows],
        "source": ["chexpert"] * len(keys),
        "deidentified": ["yes"] * len(keys),
    }


def _key(table: Table, row: int, path: str, by_study: bool) -> str:
    match = (_STUDY if by_study else _IMAGE).search(path.replace("\\", "/"))
    if match is None:
        end = "patientN/studyN" if by_study else "patientN/studyN/viewN_frontal.jpg"
        raise table.fault(row, f"the path does not end in {end}: take the table as it was published.")
    return "/".join(match.groups()[: 2 if by_study else 3])
