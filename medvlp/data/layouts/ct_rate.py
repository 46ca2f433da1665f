"""``ct_rate``: chest CT volumes with reports (Hamamci et al. 2024), one row a reconstruction.

A name says all: ``train_1_a_2`` is reconstruction 2 of scan ``a`` of patient ``train_1``. Scans have several
reconstructions, which share report and labels: they are one study. The labels were predicted by a model from the
reports. The first release stores raw values and a side-car's rescale, the second (folders ``train_fixed``,
``valid_fixed``) Hounsfield units beside the same side-car: the view `read_volume` with ``side_car: ct_rate`` asks the
values.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import read_table

_SPLITS = {"train": ("train", "train", "train"), "valid": ("validation", "validation", "valid")}
_NAME = re.compile(r"((train|valid)_\d+)_([a-z]+)_(\d+)")
_TEXTS = {
    "text.indication": "ClinicalInformation_EN",
    "text.technique": "Technique_EN",
    "text.findings": "Findings_EN",
    "text.impression": "Impressions_EN",
}
_NOT_GIVEN = {"", "not given", "not given.", "nan"}


def index(root: Root, *, recons: Literal["all", "first"] = "all", require_files: bool = True) -> Manifest:
    """Index the volumes that the tables name; of one that stands in both releases the second's.

    Columns: ``id`` (``train_1_a_2``), ``volume``, ``id.patient`` (``train_1``), ``id.study`` (``train_1_a``),
    ``text.indication``, ``text.technique``, ``text.findings``, ``text.impression`` and ``text`` (the last two),
    ``label.FINDING``, ``sex``, ``age``, ``scanner``, ``kernel``, ``number.rescale_slope`` and ``_intercept``,
    ``number.spacing_z``, ``number.spacing_y`` and ``number.spacing_x`` (mm), ``split`` (train, validate).

    Args:
        root: the folder ``dataset``, or the one above it.
        recons: ``first`` leaves one reconstruction a scan, the lowest number; the others are listed.
        require_files: leave out, and list, volumes whose file is not there.

    Raises:
        DataError: if no table is there, a name is none, a column is missing, or no volume exists.
    """
    start = "dataset/" if (root / "dataset").is_dir() else ""
    files = frozenset(list_files(root, [f"{start}{split}{end}" for split in _SPLITS for end in ("", "_fixed")]))
    skipped: dict[str, list[str]] = {}
    rows: list[Row] = []
    for split in _SPLITS:
        tables = _tables(root / start, split)
        heads = _not_chest(root / start / "metadata" / f"no_chest_{split}.txt")
        for name in sorted({name for table in tables.values() for name in table}, key=_order):
            row = _row(name, tables, _path(name, f"{start}{split}", files))
            if name in heads:
                skip(skipped, "not_chest", name)
            elif "metadata" in tables and row["number.spacing_z"] is None:
                skip(skipped, "no_z_spacing", name)
            else:
                rows.append(row)
    if not rows and not skipped:
        raise DataError(
            f"{root} holds none of CT-RATE's tables (metadata/train_metadata.csv, radiology_text_reports/"
            "train_reports.csv, multi_abnormality_labels/train_predicted_labels.csv ...): give the folder `dataset`."
        )
    there = files if require_files else None
    if recons == "first":
        rows = _first_of_each(rows, there, skipped)
    return manifest_of(rows, root=root, layout="ct_rate", files=there, skipped=skipped, field="volume")


_Table = dict[str, dict[str, str]]  # volume -> column -> value


def _tables(top: Path, split: str) -> dict[str, _Table]:
    metadata, reports, labels = _SPLITS[split]
    paths = {
        "metadata": top / "metadata" / f"{metadata}_metadata.csv",
        "reports": top / "radiology_text_reports" / f"{reports}_reports.csv",
        "labels": top / "multi_abnormality_labels" / f"{labels}_predicted_labels.csv",
    }
    needed = {
        "metadata": ["RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing"],
        "reports": list(_TEXTS.values()),
        "labels": list(load_card("ct_rate").labels.values()),
    }
    return {kind: _by_volume(path, needed[kind]) for kind, path in paths.items() if path.is_file()}


def _by_volume(path: Path, needed: list[str]) -> _Table:
    table = read_table(path)
    for name in needed:
        table.column(name)  # says which columns there are
    found: _Table = {}
    for name, row in zip(table.column("VolumeName"), table.rows, strict=True):
        stem = name.removesuffix(".gz").removesuffix(".nii")
        if not _NAME.fullmatch(stem):
            raise DataError(f"{path}: {name!r} is not a name like train_1_a_1.nii.gz: check which table it is.")
        found[stem] = dict(zip(table.names, row, strict=True))
    return found


def _not_chest(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    names = (line.strip().rpartition("/")[2] for line in path.read_text(encoding="utf-8-sig").splitlines())
    return {name.removesuffix(".gz").removesuffix(".nii") for name in names if name}


def _order(name: str) -> tuple[int, int, str, int]:
    """By number of the patient, then scan and reconstruction."""
    _, patient, scan, recon = name.split("_")
    return int(patient), len(scan), scan, int(recon)


def _path(name: str, split: str, files: frozenset[str]) -> str:
    """The second release's file, or the first's where that alone is there."""
    below = f"{name.rsplit('_', 2)[0]}/{name.rsplit('_', 1)[0]}/{name}.nii.gz"
    first, second = f"{split}/{below}", f"{split}_fixed/{below}"
    return first if first in files and second not in files else second


def _row(name: str, tables: dict[str, _Table], path: str) -> Row:
    facts, report, labels = (tables.get(kind, {}).get(name, {}) for kind in ("metadata", "reports", "labels"))
    given = {key: report.get(column, "") for key, column in _TEXTS.items()}
    texts = {key: "" if text.lower() in _NOT_GIVEN else text for key, text in given.items()}
    spacing = _pair(facts.get("XYSpacing", ""))
    return {
        "id": name,
        "id.patient": name.rsplit("_", 2)[0],
        "id.study": name.rsplit("_", 1)[0],
        "volume": path,
        "text": "\n\n".join(
            f"{title}: {texts[key]}"
            for title, key in (("FINDINGS", "text.findings"), ("IMPRESSION", "text.impression"))
            if texts[key]
        ),
        **texts,
        **{f"label.{finding}": labels.get(word) for finding, word in load_card("ct_rate").labels.items()},
        "sex": facts.get("PatientSex") if facts.get("PatientSex") in ("F", "M", "O") else None,
        "age": years(facts.get("PatientAge", "")),
        "scanner": " ".join(filter(None, (facts.get("Manufacturer"), facts.get("ManufacturerModelName")))),
        "kernel": facts.get("ConvolutionKernel"),
        "number.rescale_slope": _number(facts.get("RescaleSlope", "")),
        "number.rescale_intercept": _number(facts.get("RescaleIntercept", "")),
        "number.spacing_z": _number(facts.get("ZSpacing", "")),
        "number.spacing_y": spacing[0],
        "number.spacing_x": spacing[1],
        "split": "train" if name.startswith("train_") else "validate",
    }


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _pair(value: str) -> tuple[float | None, float | None]:
    """Two numbers that stand as the words of a list: between rows and between columns."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None, None
    if isinstance(found, list) and len(found) == 2 and all(isinstance(number, int | float) for number in found):
        return float(found[0]), float(found[1])
    return None, None


def _first_of_each(rows: list[Row], files: frozenset[str] | None, skipped: dict[str, list[str]]) -> list[Row]:
    seen: set[object] = set()
    first = []
    for row in rows:
        there = files is None or row["volume"] in files
        if there and row["id.study"] in seen:
            skip(skipped, "other_reconstruction", str(row["id"]))
            continue
        if there:
            seen.add(row["id.study"])
        first.append(row)
    return first
