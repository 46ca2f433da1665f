"""What layouts of published data sets share: tables found, files listed once, rows without a file left out.

A published set is its label table and a tree of images of which people often hold a part. Folders are listed, no file
is asked for one by one: a hundred thousand rows are checked in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.fields import KINDS
from medvlp.core.grouped import grouped
from medvlp.data.layouts._dicom_tree import Header, scan_tree
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import Table, read_table

Row = dict[str, object]

_LABELS = {"": None, "1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}


def find_table(root: Path, names: Sequence[str], *, what: str) -> Path:
    """Find a table by its names, as it is or gzipped, in `root` or one folder below it.

    Args:
        names: in the order of preference, with ``*`` for what changes from release to release. Two tables of a name are
            a `DataError`, and so is none of them.
        what: the table is called in the error.
    """
    found = optional_table(root, names)
    if found is None:
        raise DataError(
            f"{root} holds no {what} ({' or '.join(names)}, there or one folder below): check the root, and that the "
            "table was downloaded with the images."
        )
    return found


def optional_table(root: Path, names: Sequence[str]) -> Path | None:
    """Find a table as `find_table` does, or give None where there is none."""
    for place in (place for name in names for place in (name, f"*/{name}")):
        found = sorted({path for end in ("", ".gz") for path in root.glob(place + end) if path.is_file()})
        one_each = {str(path).removesuffix(".gz"): path for path in found}
        if len(one_each) > 1:
            both = " and ".join(sorted(path.relative_to(root).as_posix() for path in one_each.values())[:2])
            raise DataError(f"{root} holds two releases ({both}): give the folder of one of them alone as root.")
        if found:
            return found[0]
    return None


def lookup_table(root: Path, names: Sequence[str], key: str, value: str) -> dict[str, str]:
    """Return one column of a table by another; nothing where the table is not there."""
    path = optional_table(root, names)
    table = None if path is None else read_table(path)
    return {} if table is None else dict(zip(table.column(key), table.column(value), strict=True))


def read_headers(
    root: Path, folders: Iterable[str], *, workers: int = 0, progress: Progress | None = None
) -> tuple[dict[str, Header], dict[str, str]]:
    """Read the DICOM headers below some folders: path -> header, and path -> why a file is no radiograph."""
    facts: dict[str, Header] = {}
    refused: dict[str, str] = {}
    for folder in folders:
        scan = scan_tree(root, folder=folder, modalities=("CR", "DX", "RG", ""), workers=workers, progress=progress)
        facts |= {header.path: header for header in scan.headers}
        refused |= {path: reason for reason, some in scan.skipped.items() for path in some}
    return facts, refused


def rows_of(names: Iterable[str]) -> dict[str, list[int]]:
    """Return name -> the rows that it stands in, in the order of the first."""
    return grouped((name, row) for row, name in enumerate(names))


def study_numbers(
    patients: Sequence[str], studies: Sequence[str], when: Mapping[str, tuple[str, str]]
) -> list[int | None]:
    """Number each patient's studies from 1 in their order in time, a row each; dates and intervals stay out.

    Args:
        patients: of each row.
        studies: of each row.
        when: study -> (date, time); one that is not there has no number. Studies of which nobody knows which came
            first, of one time or of a day on which one has a blank time, have the same number.

    Example:
        >>> when = {"a": ("2020", "09"), "b": ("2019", ""), "c": ("2019", "10"), "d": ("2021", "")}
        >>> study_numbers(["p", "p", "p", "q", "p"], ["a", "b", "c", "d", "e"], when)
        [2, 1, 1, 1, None]
    """
    numbers: dict[str, int] = {}
    for rows in rows_of(patients).values():
        dated = {study: when[study] for study in (studies[row] for row in rows) if study in when}
        blank = {date for date, time in dated.values() if not time}
        known = {study: (date, "" if date in blank else time) for study, (date, time) in dated.items()}
        order = {moment: number for number, moment in enumerate(sorted(set(known.values())), start=1)}
        numbers |= {study: order[moment] for study, moment in known.items()}
    return [numbers.get(study) for study in studies]


def label_columns(table: Table, words: Mapping[str, str]) -> dict[str, list[int | None]]:
    """Read label columns by their names: 1, 0 and -1 are kept apart, a blank stays missing.

    Args:
        table: with a column for each finding; another value is a `DataError` that names its line.
        words: finding -> name of its column; columns that the table lacks are left out, but not all of them.
    """
    columns: dict[str, list[int | None]] = {}
    for finding, word in words.items():
        if word not in table.names:
            continue
        column = table.column(word)
        for row, value in enumerate(column):
            if value not in _LABELS:
                what = f"{word} is {value!r}, where a label is 1 (present), 0 (absent), -1 (uncertain) or blank"
                raise table.fault(row, f"{what}: take the table as it was published.")
        columns[f"label.{finding}"] = [_LABELS[value] for value in column]
    if not columns:
        first = next(iter(words.values()))
        raise DataError(f"{table.path} has no label column, not even {first!r}: {did_you_mean(first, table.names)}.")
    return columns


def published_manifest(
    columns: Mapping[str, Sequence[object]],
    *,
    root: Path,
    reasons: Sequence[str],
    source: str,
    listed: Sequence[str] | None = None,
    meta: Mapping[str, object],
    skipped: Mapping[str, Sequence[str]] | None = None,
) -> Manifest:
    """Make the manifest of the rows that stay, and list the others by reason; none at all is a `DataError`.

    Args:
        columns: name -> values, all rows.
        root: what image paths are relative to.
        reasons: why a row is left out, empty where it stays.
        source: what names the files, for error sentences.
        listed: what a row that is left out is called in the list; its id where nothing is given.
        skipped: what else was left out, reason -> names.
    """
    listed = [str(name) for name in columns["id"]] if listed is None else listed
    left = grouped((reason, name) for reason, name in zip(reasons, listed, strict=True) if reason)
    keep = [row for row, reason in enumerate(reasons) if not reason]
    if not keep and set(left) == {"missing_file"}:
        raise DataError(
            f"None of the {len(reasons)} files that {source} names exists below {root}, the first is {listed[0]}: "
            "check the root, or set require_files to false to index the labels alone."
        )
    for reason, some in (skipped or {}).items():
        if some:
            left.setdefault(reason, []).extend(some)
    if not keep:
        counts = ", ".join(f"{len(some)} {reason}" for reason, some in sorted(left.items())) or "it has none"
        raise DataError(f"No record of {source} is left ({counts}): loosen the selection, or check the root {root}.")
    chosen = {name: [values[row] for row in keep] for name, values in columns.items()}
    return Manifest.of(chosen, root=root, meta={**meta, "skipped": left})


def alike(name: str, values: Sequence[Any]) -> list[Any]:
    """Write values as JSON does where others of a column are words, and lists that are no marks or vectors."""
    kinds = {type(value) for value in values if value is not None}
    written = (str in kinds and len(kinds) > 1) or (kinds & {list, dict} and name.partition(".")[0] not in KINDS)
    return [json.dumps(v, default=str) if written and not isinstance(v, str | None) else v for v in values]


def columns_of(rows: Sequence[Row]) -> dict[str, list[object]]:
    """Return rows as columns, in the order in which their names come; what a row lacks is None."""
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def manifest_of(
    rows: Sequence[Row],
    *,
    root: Path,
    layout: str,
    files: Collection[str] | None,
    skipped: Mapping[str, Sequence[str]],
    field: str = "image",
    meta: Mapping[str, object] | None = None,
) -> Manifest:
    """Make the manifest of the rows whose file is there; the others are listed under ``missing_file``.

    Args:
        rows: column -> value; a column that a row lacks is missing in it.
        root: folder that paths are relative to.
        files: paths that exist, as `list_files` gives them; None where nobody asks for the files.
        skipped: reason -> what was left out so far; goes into the manifest's meta.
        field: column of the paths; rows without one stay.
        meta: more plain data for the manifest's meta.
    """
    paths = [row.get(field) for row in rows]
    return published_manifest(
        columns_of(rows),
        root=root,
        reasons=["" if files is None or path is None or path in files else "missing_file" for path in paths],
        listed=[str(path) for path in paths],
        source=f"the {layout} release",
        meta={"layout": layout, **(meta or {})},
        skipped=skipped,
    )
