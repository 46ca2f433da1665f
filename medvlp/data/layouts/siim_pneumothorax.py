"""``siim_pneumothorax``: SIIM-ACR Pneumothorax Segmentation, the DICOM tree with run lengths or the PNG re-upload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import OnProgress, Root, by_stem, list_files
from medvlp.data.layouts._published import (
    Row,
    columns_of,
    find_table,
    label_columns,
    optional_table,
    published_manifest,
    read_headers,
    rows_of,
)
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import Table, read_table

_RUNS = ("train-rle.csv", "stage_2_train.csv")
_TREES = {"dicom-images-train": "train", "dicom-images-test": "test", "stage_2_images": None}
_PNG_TABLES = {"train": "stage_1_train_images.csv", "test": "stage_1_test_images.csv"}
_SIDE = 1024  # pixels of a side: the run lengths know no other


def index(
    root: Root, *, headers: bool = True, require_files: bool = True, workers: int = 0, progress: OnProgress = None
) -> Manifest:
    r"""Index the challenge, one row an image: the several rows that the mask table has of an image become one.

    Columns: ``id`` (ImageId), ``id.patient``, ``image``, ``label.pneumothorax``, ``mask.pneumothorax`` (run lengths of
    the union, all background where the image is negative; in the PNG form the path of the mask's file), ``split``
    (stage 1, where the folders or tables tell it), ``view_position``, ``sex``, ``age`` (from DICOM headers),
    ``source`` (these are NIH ChestX-ray14's images; nobody has published which), ``table_rows`` (numbers of the mask
    table's rows from 0, for splits that were drawn by row), ``deidentified``.

    Args:
        root: folder of ``train-rle.csv`` and ``dicom-images-train``, or of ``png_images`` and
            ``stage_1_train_images.csv``.
        headers: read patient, view, sex and age from the DICOM headers. Without them ``id.patient`` is the image.
        require_files: leave out rows whose image is not there, and list them; false for the labels alone.
        workers: processes for reading headers.

    Raises:
        DataError: if the release is not as it was published, or nothing of it is there.
    """
    if optional_table(root, (_PNG_TABLES["train"],)) is not None:
        return _png(root, require_files)
    table = read_table(find_table(root, _RUNS, what="mask table of the SIIM-ACR challenge"))
    rows, cells = rows_of(table.column("ImageId")), table.column("EncodedPixels")
    names = list(rows)
    trees = {folder: list_files(root, [folder], suffixes=(".dcm",)) for folder in _TREES}
    files, repeated = by_stem(path for some in trees.values() for path in some)
    paths = [files.get(name) for name in names]
    there = [folder for folder, some in trees.items() if some and headers]
    facts, refused = read_headers(root, there, workers=workers, progress=progress)
    masks = [_union(table, cells, rows[name]) for name in names]
    tags = [facts[path].get if path in facts else None for path in paths]
    columns: dict[str, Sequence[object]] = {
        "id": names,
        "id.patient": [(tag and tag("PatientID")) or name for name, tag in zip(names, tags, strict=True)],
        "image": paths,
        "label.pneumothorax": [int(len(mask) > 3) for mask in masks],
        "mask.pneumothorax": masks,
        "view_position": [tag and tag("ViewPosition") for tag in tags],
        "sex": [tag and tag("PatientSex") for tag in tags],
        "age": [tag and years(tag("PatientAge")) for tag in tags],
        "source": ["nih_chestxray14"] * len(names),
        "table_rows": [" ".join(map(str, rows[name])) for name in names],
        "deidentified": ["yes"] * len(names),
    }
    splits = [_TREES[path.partition("/")[0]] if path else None for path in paths]
    if any(splits):
        columns["split"] = splits
    reasons = ["" if not require_files else "missing_file" if path is None else refused.get(path, "") for path in paths]
    other = {"repeated": repeated, "not_in_table": sorted(path for name, path in files.items() if name not in rows)}
    meta = {"layout": "siim_pneumothorax", "form": "dicom", "table": table.path.name}
    return published_manifest(columns, root=root, reasons=reasons, source=str(table.path), meta=meta, skipped=other)


def _png(root: Path, require_files: bool) -> Manifest:
    """The re-upload: tables of images by part, and a mask file of the same name for each."""
    folder = find_table(root, (_PNG_TABLES["train"],), what="table of the PNG re-upload").parent
    place = folder.relative_to(root).as_posix()
    rows: list[Row] = []
    images, masks = (
        {path.rpartition("/")[2]: path for path in list_files(root, [f"{place}/{kind}"], suffixes=(".png",))}
        for kind in ("png_images", "png_masks")
    )
    for split, name in _PNG_TABLES.items():
        if not (folder / name).is_file():
            continue
        table = read_table(folder / name)
        labels = label_columns(table, {"pneumothorax": "has_pneumo"})["label.pneumothorax"]
        named = zip(table.column("ImageId"), table.column("new_filename"), labels, strict=True)
        for image, file, label in dict.fromkeys(named):
            row: Row = {"id": image, "id.patient": image, "image": images.get(file), "split": split}
            row |= {"label.pneumothorax": label, "mask.pneumothorax": masks.get(file)}
            rows.append(row | {"source": "nih_chestxray14", "deidentified": "yes"})
    known = {row["image"] for row in rows}
    return published_manifest(
        columns_of(rows),
        root=root,
        reasons=["missing_file" if require_files and row["image"] is None else "" for row in rows],
        source=str(folder / _PNG_TABLES["train"]),
        meta={"layout": "siim_pneumothorax", "form": "png"},
        skipped={"not_in_table": sorted(path for path in images.values() if path not in known)},
    )


def _union(table: Table, cells: Sequence[str], rows: Iterable[int]) -> list[int]:
    """Join the relative run lengths of an image's rows to one list of alternating runs.

    A row is pairs of (background since the end of the last run, length of the run) down the columns: alternating runs
    already, but for the background that is left.
    """
    spans: list[tuple[int, int]] = []
    empty = 0
    for row in rows:
        if cells[row] == "-1":
            empty += 1
            continue
        end = 0
        numbers = cells[row].split()
        if not numbers or len(numbers) % 2 or not all(number.isdecimal() for number in numbers):
            raise table.fault(row, f"the mask is not pairs of offset and length: {_MEND}")
        for gap, length in zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True):
            spans.append((end + gap, end + gap + length))
            end += gap + length
        if end > _SIDE * _SIDE:
            raise table.fault(row, f"the mask leaves {_SIDE} x {_SIDE} pixels: {_MEND}")
    if empty and spans:
        raise DataError(f"{table.path}: an image has both a mask and -1 (no mask): {_MEND}")
    runs, end = [_SIDE, _SIDE], 0
    for start, stop in sorted(spans):
        if start > end or len(runs) == 2:
            runs += [start - end, stop - start]
        else:
            runs[-1] += max(0, stop - end)
        end = max(end, stop)
    return [*runs, _SIDE * _SIDE - end] if end < _SIDE * _SIDE or not spans else runs


_MEND = "take the table as it was published."
