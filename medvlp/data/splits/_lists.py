"""Lists of ids as people keep them, and the records that they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medvlp.core.errors import DataError
from medvlp.core.files import read_json
from medvlp.core.grouped import grouped
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import Table, read_table

# What others call the three parts.
PART_WORDS: dict[str, str] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validate", "val", "valid", "validation", "dev"), "validate"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_ID_COLUMNS = (
    "id", "dicom_id", "image_id", "imageid", "image_index", "image", "filename", "file_name", "path", "patientid",
)  # fmt: skip
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SUFFIX = re.compile(r"\.(png|jpe?g|dcm|dicom|nii(\.gz)?|npz|npy)$", re.IGNORECASE)


@dataclass(frozen=True)
class Matched:
    """What names on a list mean.

    Attributes:
        records: name -> ids of the records that it means.
        by: which values of the manifest were compared.
    """

    records: Mapping[str, Sequence[str]]
    by: str


def find_file(path: Path, root: Path) -> Path:
    """Return a file by its path from the working folder, else below `root`; gzipped where it is not there as it is."""
    for choice in (Path(path).expanduser(), root / path):
        for found in (choice, choice.with_name(f"{choice.name}.gz")):
            if found.is_file():
                return found
    raise DataError(f"The list {path} is neither in the working folder nor in {root}: give its path.")


def read_list(path: Path, *, column: str | None = None) -> list[str]:
    r"""Read ids, one a line, or one column of a table; in the file's order, repeated ones too.

    Args:
        path: of the file; ``.csv`` and ``.tsv``, also with ``.gz``, are tables, and so is any where `column` is given.
        column: its name; without it, the one column with a usual name.
    """
    if column is None and not path.name.lower().endswith(_TABLES):
        try:
            found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text: give a list with one id a line.") from None
        found = [line for line in found if line]
    else:
        table = read_table(path)
        found = [value for value in table.column(_column(table, column)) if value]
    if not found:
        raise DataError(f"{path} lists nothing: give a list with one id a line.")
    return found


def read_parts(path: Path, *, column: str | None = None, split_column: str = "split") -> dict[str, list[str]]:
    """Read a table with a column of ids and one of parts; rows without a part stand in none.

    A ``.json`` holds part -> ids instead, or part -> records with an ``id``, as R2Gen's ``annotation.json``. ``val``,
    ``valid``, ``validation`` and ``dev`` are ``validate``; ``training`` and ``testing`` are understood too.
    """
    if path.suffix.lower() == ".json":
        return _parts_of_json(path)
    table = read_table(path)
    sides = table.column(_column(table, split_column))
    named = zip(table.column(_column(table, column)), sides, strict=True)
    parts = grouped((PART_WORDS.get(side.lower(), side), name) for name, side in named if side and name)
    if not parts:
        raise DataError(f"The column {split_column!r} of {path} is blank: name the column that holds the parts.")
    return parts


def _parts_of_json(path: Path) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for part, entries in read_json(path).items():
        listed = entries if isinstance(entries, list) else []
        found = [entry.get("id") if isinstance(entry, dict) else entry for entry in listed]
        if not found or not all(isinstance(name, str) for name in found):
            raise DataError(f"{path}: {part!r} is no list of ids, or of records with an id: give part -> ids.")
        parts[PART_WORDS.get(part.lower(), part)] = [str(name) for name in found]
    return parts


def match(manifest: Manifest, names: Sequence[str], *, by: str | None = None) -> Matched:
    """Find the records that names on a list mean.

    Args:
        names: ids, image paths or file names (with or without their ending), studies or patients.
        by: the column that is compared; without it, the one in which most names are found.
    """
    wanted = dict.fromkeys(names)
    best = Matched({}, "")
    for space, keys, key_of in _spaces(manifest, by):
        found = {name: keys[key_of(name)] for name in wanted if key_of(name) in keys}
        if len(found) > len(best.records):
            best = Matched(found, space)
        if len(found) == len(wanted):
            break
    if not best.records:
        first, place = next(iter(wanted), ""), f"in the column {by}" if by else "an id, image, study or patient"
        raise DataError(
            f"None of {len(wanted)} listed ids (the first: {first!r}) is {place} of the manifest, whose ids look like "
            f"{manifest.column('id')[0]!r}: check that the list is of this data set."
        )
    return best


def refuse_shared(parts: Mapping[str, Sequence[str]]) -> None:
    """Stop where an id stands on several lists."""
    seen: dict[str, str] = {}
    shared = []
    for part, ids in parts.items():
        shared += [(name, seen[name], part) for name in ids if seen.setdefault(name, part) != part]
    if shared:
        name, one, other = shared[0]
        raise DataError(
            f"{len(shared)} ids stand on several lists, the first is {name!r} in {one} and {other}: take them out of "
            "one, or set repeat: true to have them in both, which leaks."
        )


def _spaces(manifest: Manifest, by: str | None) -> Iterator[tuple[str, dict[str, list[str]], Callable[[str], str]]]:
    """What names may be compared with, in turn: (name, value -> ids, how a listed name is written there)."""
    ids = manifest.column("id").tolist()

    def keyed(values: Sequence[object], *, unique: bool = False) -> dict[str, list[str]]:
        named = zip(values, ids, strict=True)
        found = grouped((str(value), record) for value, record in named if value is not None)
        # A file name that several folders have (view1_frontal.jpg) names nothing.
        return {} if unique and any(len(records) > 1 for records in found.values()) else found

    if by is not None:
        yield by, keyed(manifest.column(by).tolist()), str
        return
    yield "id", keyed(ids), str
    for field in ("image", "volume"):
        if field in manifest:
            paths = manifest.column(field).tolist()
            whole = keyed(paths)
            name_of = lambda path: PurePosixPath(path).name  # noqa: E731
            yield field, whole, str
            yield f"{field} below its first folder", whole, lambda name: name.partition("/")[2]
            yield f"{field} file", keyed([path and PurePosixPath(path).name for path in paths], unique=True), name_of
            yield f"{field} file without ending", keyed([path and _stem(path) for path in paths], unique=True), _stem
    yield "id without ending", keyed([_stem(name) for name in ids], unique=True), _stem
    for name in manifest.names_of("id"):
        yield name, keyed(manifest.column(name).tolist()), str


def _stem(name: str) -> str:
    return _SUFFIX.sub("", PurePosixPath(name).name)


def _column(table: Table, column: str | None) -> str:
    """The column of that name in any case, or of a usual one where none is named."""
    names = {name.lower().replace(" ", "_"): name for name in table.names}
    if column is not None:
        return column if column in table.names else names.get(column.lower(), column)
    usual = [names[name] for name in _ID_COLUMNS if name in names]
    if not usual:
        raise DataError(
            f"{table.path} has no column of ids by a usual name: set column to one of {', '.join(table.names)}."
        )
    return usual[0]
