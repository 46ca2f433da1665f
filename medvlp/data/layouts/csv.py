"""``csv``: any table with a column of image files, of words, or both."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.pseudonym import pseudonym, secret_key
from medvlp.data._columns import plain_numbers
from medvlp.data.layouts._coco import coco_columns
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import Root
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_path
from medvlp.data.spellings import patient_notes
from medvlp.data.splits._lists import PART_WORDS
from medvlp.data.text_table import SHORT_NAMES, Table, box_cells, linked, mask_cells, read_table

_HOLE = re.compile(r"\{([^{}]*)\}")
_AT_LEAST = re.compile(r"(.+?)\s*>=\s*(-?\d+(?:\.\d+)?)")


def index(
    root: Root,
    *,
    columns: dict[str, str],
    table: str | None = None,
    images: str = ".",
    where: dict[str, str | list[str]] | None = None,
    same_patient: tuple[str, ...] = (),
    pseudonymise: bool = False,
    key_file: Path | None = None,
    encoding: str = "utf-8-sig",
    coco: str | None = None,
    run_lengths: tuple[int, int] | None = None,
) -> Manifest:
    r"""Index a table, one row a row of it.

    Args:
        root: folder of all.
        columns: manifest column -> column of the table, or a pattern of several: ``{image: "{folder}/{filename}", text:
            clinical_notes, patient_id: patientid, label.pneumonia: pneumonia, view_position: view}``. ``patient_id``
            and ``study_id`` are ``id.patient`` and ``id.study``. Without ``id`` the image's path is the id, else the
            row's number. ``label.edema_moderate: "grade>=2"`` is 1 from that number on, 0 below, blank where it is.
            A ``split`` of ``val``, ``valid``, ``validation`` or ``dev`` is ``validate``.
        table: CSV file, below root; may be left out where root holds only one.
        images: folder that image paths are relative to, below root.
        where: column of the table -> wanted value or values; other rows are left out.
        same_patient: columns of the table in which an equal value also means the same patient (the address of a case
            report, say, where a case stands under two numbers). Rows that any chain of equal values links, those of
            ``patient_id`` among them, get one ``id.patient``, so that no split can part them.
        pseudonymise: replace patient and study identifiers by keyed hashes. Splits then depend on the key.
        key_file: secret of the pseudonyms (default `medvlp.core.pseudonym.default_key_file`).
        encoding: of the table.
        coco: COCO annotation file, below root: its categories become ``boxes.CATEGORY`` and ``mask.CATEGORY`` of the
            images that it lists by name.
        run_lengths: (height, width) of the images whose masks stand in the table as pairs "start length", counted
            from 1 down the columns (Kaggle's form); "-1" is an empty mask.

    A ``boxes.FINDING`` column holds ``[[x0, y0, x1, y1], ...]``, pixels of the file. A ``mask.FINDING`` column holds
    the path of a PNG, DICOM or NIfTI file, relative as images are, ``path#2`` or ``path#2,3`` where one file has
    several values (``mask.liver: "labels/{case}.nii.gz#6"``), or run lengths ``[height, width, runs of 0 and 1 in turn
    down the columns]``. A blank is unknown; an empty list, a black mask and a label of 0 say that there is none.

    Raises:
        ConfigError: for a secret without pseudonyms.
        DataError: for a column that the table lacks, a value that it cannot have, no row left, or no file that exists.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "metadata.csv").write_text("who,note\n7,Clear lungs.\n")
        >>> index(root, columns={"text": "note", "patient_id": "who"}).record(0)
        {'id': 'row-000001', 'text': 'Clear lungs.', 'id.patient': '7'}
    """
    if key_file is not None and not pseudonymise:
        raise ConfigError(
            "key_file of layout 'csv' is the secret of pseudonyms, and none are made: set pseudonymise or leave it out."
        )
    source = read_table(root / table if table is not None else _only_table(root), encoding=encoding)
    keep = _matching(source, where or {})
    values = {SHORT_NAMES.get(name, name): _values(source, spec, keep) for name, spec in columns.items()}
    for name, spec in columns.items():
        if name.partition(".")[0] in ("label", "number"):
            _refuse_words(source, keep, spec, name, values[name])
    if same_patient:
        values["id.patient"] = linked([values.get("id.patient"), *(_values(source, c, keep) for c in same_patient)])
    meta: dict[str, object] = {"layout": "csv", "table": source.path.name}
    if pseudonymise:
        meta["notes"] = list(patient_notes(values.get("id.patient", ())))
        key = secret_key(key_file)
        for name, prefix in (("id.patient", "p"), ("id.study", "s")):
            if name in values:
                values[name] = [pseudonym(value, key, prefix=prefix) for value in values[name]]
    ages = [(age, years(age or "")) for age in values.get("age", [])]
    if ages and all(not age or whole is not None for age, whole in ages):  # DICOM's too: 045Y, 006M
        values["age"] = ["" if whole is None else str(whole) for _, whole in ages]
    if "split" in values:
        values["split"] = [PART_WORDS.get(side.lower(), side) for side in values["split"]]
    numbers = [number + 1 for number in keep]
    if "id" not in values:
        values = {"id": _ids(values, numbers), **values}
    typed: dict[str, Sequence[object]] = {name: plain_numbers(name, column) for name, column in values.items()}
    for name, column in values.items():
        kind = name.partition(".")[0]
        if kind in ("boxes", "mask"):
            typed[name] = box_cells(name, column) if kind == "boxes" else mask_cells(name, column, run_lengths)
    if coco is not None:
        typed |= coco_columns(root / coco, values.get("image", []), root / images)
    manifest = Manifest.of(typed, root=root / images, meta=meta)
    _refuse_all_missing(manifest)
    return manifest


def _only_table(root: Path) -> Path:
    there = (path for path in root.glob("*") if not path.name.startswith("."))  # "._t.csv" is what macOS leaves
    found = sorted(path for path in there if path.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{root} must hold one CSV table, or `table` must say which one is meant (there: {names}).")
    return found[0]


def _matching(source: Table, where: dict[str, str | list[str]]) -> list[int]:
    keep = list(range(len(source.rows)))
    for name, wanted in where.items():
        column = source.column(name)
        allowed = {wanted} if isinstance(wanted, str) else set(wanted)
        keep = [row for row in keep if column[row] in allowed]
        if not keep:
            there = ", ".join(sorted({value or "(blank)" for value in column})[:12])
            raise DataError(f"{source.path} has no row left where {name} is {wanted!r}: the column holds {there}.")
    return keep


def _values(source: Table, spec: str, keep: list[int]) -> list[str]:
    """One column, or a pattern over several; a row that lacks one of a pattern's parts has no value."""
    holes = _HOLE.findall(spec)
    if (step := _AT_LEAST.fullmatch(spec)) and spec not in source.names:
        return _reached(source, step[1], float(step[2]), keep)
    if not holes:
        column = source.column(spec)
        return [column[row] for row in keep]
    for name in holes:
        if name not in source.names:
            raise DataError(
                f"{source.path} has no column {name!r}, asked for by {spec!r}: "
                f"{did_you_mean(name, [n for n in source.names if n])}."
            )
    parts = {name: source.column(name) for name in holes}
    return [
        _HOLE.sub(lambda match, row=row: parts[match[1]][row], spec) if all(parts[name][row] for name in holes) else ""
        for row in keep
    ]


def _reached(source: Table, name: str, least: float, keep: list[int]) -> list[str]:
    """Whether a number reaches another, as a label."""
    column, found = source.column(name), []
    for row in keep:
        try:
            number = float(column[row] or "nan")  # "nan" is a blank, here as in a column of labels
            found.append("" if math.isnan(number) else str(int(number >= least)))
        except ValueError:
            words = f"{name} is {column[row]!r}, no number that could reach {least:g}"
            raise source.fault(row, f"{words}: write numbers, or leave unknown ones blank.") from None
    return found


def _refuse_words(source: Table, keep: list[int], spec: str, name: str, values: list[str]) -> None:
    """Refuse a value that is no number, by its line of the table: `where` and line breaks give rows other numbers."""
    for row, value in zip(keep, values, strict=True):
        try:
            float(value or "nan")
        except ValueError:
            words = f"the column {name!r} must hold numbers ({spec} is {value!r}): leave unknown ones blank."
            raise source.fault(row, words) from None


def _ids(values: dict[str, list[str]], numbers: list[int]) -> list[str]:
    paths = values.get("image", [])
    if paths and all(paths) and len(set(paths)) == len(paths):
        return list(paths)
    return [f"row-{number:06d}" for number in numbers]


def _refuse_all_missing(manifest: Manifest) -> None:
    """A wrong folder or pattern is found here; single missing files are found, and listed, when they are read."""
    for name in (*manifest.file_columns, *manifest.names_of("mask")):
        if name.startswith("mask"):
            values = (value for value in manifest.arrow(name).to_pylist() if isinstance(value, str))
            paths = (manifest.root / mask_path(value)[0] for value in values)
        else:
            paths = (path for path in (manifest.path(i, name) for i in range(len(manifest))) if path is not None)
        gone: list[Path] = []
        for path in paths:
            if path.is_file() or (path.is_dir() and not name.startswith("image")):  # one is enough
                break
            gone.append(path)
        else:
            if gone:
                hint = ", and write paths with / instead of \\" if "\\" in str(gone[0]) else ""
                raise DataError(
                    f"None of the {len(gone)} files of the column {name!r} exists, the first is {gone[0]}: check "
                    f"the folder of the files and what the table calls them{hint}."
                )
