"""``nih_chestxray14``: NIH ChestX-ray14 as its archives unpack, with the official lists and the boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import OnProgress, Root, list_files, on_file
from medvlp.data.layouts._published import find_table, lookup_table, optional_table, published_manifest
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import Table, read_table

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
_BOXES = "BBox_List_2017.csv"
_SOURCES = "image_sources.csv"
_BOX_WORDS = {"Infiltrate": "Infiltration"}  # the box list has its own spelling
_BOX_GRID = 1024  # pixels of the pictures that the boxes were drawn on


def index(
    root: Root,
    *,
    table: str | None = None,
    boxes: bool = True,
    views: tuple[str, ...] = (),
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index NIH ChestX-ray14, one row an image.

    Columns: ``id`` (the image's name), ``id.patient``, ``image``, ``label.FINDING`` (14, and ``no_finding``; 1 where
    the report mining named it, else 0), ``boxes.FINDING`` (8; pixels of the file; missing where nobody drew),
    ``split`` (``train`` is the official list for training and validation), ``view_position``, ``sex``, ``age``,
    ``study_number`` (the official follow-up number), ``source``, ``deidentified``. A part of the set that was put
    together from several copies of it says so in ``image_sources.csv`` (``Image Index,source_repository``): ``source``
    is then the copy, since size and sharpness of a copy may go with its findings.

    Args:
        root: folder of the tables and of ``images_001`` to ``images_012`` (or one folder ``images``).
        table: label table, below root, where it has another name than the official ones.
        boxes: read ``BBox_List_2017.csv`` where it is there.
        views: wanted values of View Position (``PA``, ``AP``); empty for both.
        require_files: leave out rows whose image is not there, and list them; false for the labels alone.
        workers: processes for listing folders.

    Raises:
        DataError: if the release is not as it was published, or nothing of it is there.
    """
    source = read_table(root / table if table else find_table(root, _TABLES, what="label table of NIH ChestX-ray14"))
    names, positions = source.column("Image Index"), source.column("View Position")
    files, other = _files(root, names, workers, progress)
    paths = [files.get(name) for name in names]
    ages = source.column("Patient Age")
    copies = lookup_table(root, (_SOURCES,), "Image Index", "source_repository")
    columns: dict[str, Sequence[object]] = {
        "id": names,
        "id.patient": source.column("Patient ID"),
        "image": paths,
        **_labels(source),
        "view_position": positions,
        "sex": source.column("Patient Sex" if "Patient Sex" in source.names else "Patient Gender"),
        "age": [years(age) for age in ages],
        "study_number": [int(number) if number.isdecimal() else None for number in source.column("Follow-up #")],
        "source": [copies.get(name) or "nih_chestxray14" for name in names],
        "deidentified": ["yes"] * len(names),
    }
    tables = [source.path.name]
    official = _official_split(root, names)
    if official is not None:
        columns["split"] = official
        tables += [name for name in _LISTS.values() if optional_table(root, (name,)) is not None]
    box_list = optional_table(root, (_BOXES,)) if boxes else None
    if box_list is not None:
        columns |= _box_columns(read_table(box_list), root, names, paths, other)
        tables.append(box_list.name)
    reasons = [
        "other_view" if views and view not in views else "missing_file" if require_files and path is None else ""
        for view, path in zip(positions, paths, strict=True)
    ]
    meta = {
        "layout": "nih_chestxray14",
        "tables": tables,
        "implausible_ages": sum(bool(age) and years(age) is None for age in ages),
    }
    return published_manifest(columns, root=root, reasons=reasons, source=str(source.path), meta=meta, skipped=other)


def _files(
    root: Path, names: Sequence[str], workers: int, progress: Progress | None
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return name -> path, and what else is there: names that stand twice, and files that the table does not know."""
    folders = sorted(path.name for path in root.glob("images*") if path.is_dir())
    known = set(names)
    files: dict[str, str] = {}
    other: dict[str, list[str]] = {"repeated": [], "not_in_table": []}
    for path in list_files(root, folders, suffixes=(".png",), workers=workers, progress=progress):
        name = path.rpartition("/")[2]
        if name not in known:
            other["not_in_table"].append(path)
        elif name in files:
            other["repeated"].append(path)
        else:
            files[name] = path
    return files, other


def _labels(source: Table) -> dict[str, list[int]]:
    words = load_card("nih_chestxray14").labels
    found = [frozenset(text.split("|")) for text in source.column("Finding Labels")]
    for row, some in enumerate(found):
        for word in some:
            source.check_word(row, word, words.values())
    return {f"label.{finding}": [int(word in some) for some in found] for finding, word in words.items()}


def _official_split(root: Path, names: Sequence[str]) -> list[str | None] | None:
    """The list that an image stands in; None where the lists were not downloaded."""
    files = {split: optional_table(root, (name,)) for split, name in _LISTS.items()}
    lists = {split: frozenset(path.read_text("utf-8-sig").split()) for split, path in files.items() if path is not None}
    if not lists:
        return None
    both = frozenset.intersection(*lists.values()) if len(lists) > 1 else frozenset[str]()
    if both:
        raise DataError(
            f"{root}: images in both {' and '.join(_LISTS.values())}: {len(both)}, the first is {min(both)}: take "
            "the lists as they were published."
        )
    return [next((split for split, some in lists.items() if name in some), None) for name in names]


def _box_columns(
    table: Table, root: Path, names: Sequence[str], paths: Sequence[str | None], other: dict[str, list[str]]
) -> dict[str, list[list[list[float]] | None]]:
    """Boxes by finding in pixels of the file: x, y, width and height on the 1024 grid become corners on the file's."""
    finding_of = {word: finding for finding, word in load_card("nih_chestxray14").labels.items()}
    rows = {name: row for row, name in enumerate(names)}
    drawn: dict[str, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for at, values in enumerate(table.rows):
        name, word = values[0], _BOX_WORDS.get(values[1], values[1])
        table.check_word(at, word, finding_of)
        if name not in rows:
            other.setdefault("box_without_row", []).append(name)
            continue
        x, y, width, height = table.box(at, [*values[2:6], ""][:4])  # of fewer columns a blank
        path = paths[rows[name]]
        corners, file = (x, y, x + width, y + height), root / path if path is not None else None
        drawn[finding_of[word]][rows[name]] += on_file([corners], file, (_BOX_GRID, _BOX_GRID))
    return {f"boxes.{finding}": [some.get(row) for row in range(len(names))] for finding, some in sorted(drawn.items())}
