"""``rsna_pneumonia``: the RSNA Pneumonia Detection Challenge of 2018 as Kaggle gives it (stage 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import OnProgress, Root, by_stem, list_files, on_file
from medvlp.data.layouts._published import find_table, optional_table, published_manifest, read_headers, rows_of
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import Table, read_table

_LABELS = "stage_2_train_labels.csv"
_CLASSES = "stage_2_detailed_class_info.csv"
_MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_IMAGES = "stage_2_train_images"
_SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")
_SIDE = 1024  # pixels of the pictures that the boxes were drawn on
_NIH = re.compile(r"\d{8}_\d{3}\.png")
_NORMAL = {"Normal": 1, "No Lung Opacity / Not Normal": 0, "Lung Opacity": 0}


def index(
    root: Root,
    *,
    headers: bool = True,
    mapping: str | None = None,
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index the challenge, one row an image: the several rows that the label table has of an image become one.

    Columns: ``id``, ``id.patient``, ``image``, ``label.pneumonia`` (Target), ``label.no_finding`` (class Normal, where
    the class table is there), ``finding_class``, ``boxes.pneumonia`` (empty: looked, none found; pixels of the file,
    also of a smaller PNG or JPEG), ``view_position``, ``sex``, ``age`` (from the headers), ``source`` (these are NIH
    ChestX-ray14's images), ``nih_image``, ``table_rows`` (numbers of the label table's rows from 0, for splits that
    were drawn by row), ``deidentified``.

    ``patientId`` names an **image**: its 26,684 values are those of fewer patients. Only with RSNA's own mapping file
    is ``id.patient`` the NIH patient, and a split by patient is one.

    Args:
        root: folder of the tables and of ``stage_2_train_images``.
        headers: read view, sex and age from the DICOM headers.
        mapping: RSNA's ``pneumonia-challenge-dataset-mappings_2018.json``, below root; found where it is there.
        require_files: leave out rows whose image is not there, and list them; false for the labels alone.
        workers: processes for reading headers.

    Raises:
        DataError: if a table or column is missing, a row contradicts another or has half a box, or no image is there.
    """
    table = read_table(find_table(root, (_LABELS,), what="label table of the RSNA challenge"))
    rows = rows_of(table.column("patientId"))
    boxes = _boxes(table, rows)
    files, repeated = by_stem(list_files(root, [_IMAGES], suffixes=_SUFFIXES))
    names = list(rows)
    paths = [files.get(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if path is not None and not path.endswith(".dcm"):  # the release's own all have that side
            boxes[name] = on_file(boxes[name], root / path, (_SIDE, _SIDE))
    trees = [_IMAGES] if headers and any(path.endswith(".dcm") for path in files.values()) else []
    facts, refused = read_headers(root, trees, workers=workers, progress=progress)
    nih = _mapping(root, mapping)
    tags = [facts[path].get if path in facts else None for path in paths]
    columns: dict[str, Sequence[object]] = {
        "id": names,
        "id.patient": [str(int(nih[name][:8])) if name in nih else name for name in names],
        "image": paths,
        "label.pneumonia": [int(bool(boxes[name])) for name in names],
        "boxes.pneumonia": [boxes[name] for name in names],
        "view_position": [tag and tag("ViewPosition") for tag in tags],
        "sex": [tag and tag("PatientSex") for tag in tags],
        "age": [tag and years(tag("PatientAge")) for tag in tags],
        "source": ["nih_chestxray14"] * len(names),
        "table_rows": [" ".join(map(str, rows[name])) for name in names],
        "deidentified": ["yes"] * len(names),
        **_classes(root, names),
    }
    if nih:
        columns["nih_image"] = [nih.get(name) for name in names]
    reasons = ["" if not require_files else "missing_file" if path is None else refused.get(path, "") for path in paths]
    meta = {
        "layout": "rsna_pneumonia",
        "patients": "NIH patients, by RSNA's mapping" if nih else "one an image: the NIH patient is not known",
        "images_without_mapping": sum(name not in nih for name in names) if nih else len(names),
    }
    other = {"repeated": repeated, "not_in_table": sorted(path for name, path in files.items() if name not in rows)}
    return published_manifest(columns, root=root, reasons=reasons, source=str(table.path), meta=meta, skipped=other)


def _boxes(table: Table, rows: Mapping[str, list[int]]) -> dict[str, list[list[float]]]:
    """Return image -> its boxes as two corners, after looking whether its rows agree."""
    targets = table.column("Target")
    sides = list(zip(*(table.column(name) for name in ("x", "y", "width", "height")), strict=True))
    boxes: dict[str, list[list[float]]] = {}
    for name, some in rows.items():
        boxes[name] = []
        for row in some:
            box = table.box(row, [side for side in sides[row] if side])
            if targets[row] != targets[some[0]] or (targets[row], len(box)) not in (("0", 0), ("1", 4)):
                words = "the rows of an image must have Target 1 and a box each, or Target 0 and none"
                raise table.fault(row, f"{words}: take the table as it was published.")
            if box:
                boxes[name].append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    return boxes


def _classes(root: Path, names: Sequence[str]) -> dict[str, list[object]]:
    path = optional_table(root, (_CLASSES,))
    if path is None:
        return {}
    table = read_table(path)
    for row, word in enumerate(table.column("class")):
        table.check_word(row, word, _NORMAL, what="class")
    words = dict(zip(table.column("patientId"), table.column("class"), strict=True))
    found = [words.get(name) for name in names]
    return {"label.no_finding": [_NORMAL.get(word or "") for word in found], "finding_class": list(found)}


def _mapping(root: Path, name: str | None) -> dict[str, str]:
    """RSNA's list of which NIH image each image is."""
    path = root / (name or _MAPPING)
    if name is None and not path.is_file():
        return {}
    try:
        found = {entry["subset_img_id"]: entry["img_id"] for entry in json.loads(path.read_text("utf-8-sig"))}
    except FileNotFoundError:
        raise DataError(f"The mapping {path} does not exist: check its name, or leave `mapping` out.") from None
    except (ValueError, TypeError, KeyError):
        found = {"": ""}
    if not all(isinstance(image, str) and _NIH.fullmatch(image) for image in found.values()):
        raise DataError(
            f"{path} is no list of subset_img_id and img_id (00000001_000.png): take RSNA's {_MAPPING} as it was "
            "published."
        )
    return found
