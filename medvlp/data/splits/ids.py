"""``ids``: a split that somebody keeps as lists: stored by this project, a table, or one file a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medvlp.core.errors import ConfigError
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Cohort
from medvlp.data.splits._lists import find_file, match, read_list, read_parts, refuse_shared
from medvlp.data.splits._split import Split, load_split


def by_ids(
    manifest: Cohort,
    *,
    stored: Path | None = None,
    table: Path | None = None,
    files: dict[str, Path] | None = None,
    column: str | None = None,
    split_column: str = "split",
    by: str | None = None,
    repeat: bool = False,
) -> Split:
    """Take a split from files; what they list and the manifest lacks is counted, and so is what they do not list.

    Args:
        stored: JSON written by `Split.save` (``medvlp data split --ids``); its hash is checked.
        table: CSV or TSV, also with ``.gz``, with a column of ids and one of parts, as MIMIC-CXR's.
        files: part -> list with one id a line, as NIH's ``train_val_list.txt``, or table.
        column: of the ids in `table` or `files`.
        split_column: of the parts in `table`.
        by: column of the manifest that the ids are compared with: ``id.patient`` puts all records of a listed patient
            into the part. Without it, the one of ids, images, studies and patients in which most of them are found.
        repeat: allow an id in several parts; its record is then repeated, and the leak check refuses it.

    Raises:
        ConfigError: if not exactly one of `stored`, `table` and `files` is given, or `stored` with how lists are read.
        DataError: if a file cannot be read, no listed id is in the manifest, or one stands in several parts.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "test.txt").write_text("b.png")
        >>> cohort = Manifest.of({"id": ["a", "b"], "image": ["a.png", "b.png"]}, root=root)
        >>> by_ids(cohort, files={"test": Path("test.txt")}).parts
        {'test': ('b',)}
    """
    if sum(each is not None for each in (stored, table, files)) != 1:
        raise ConfigError("A split by ids is given by stored, table or files: name exactly one of them.")
    if stored is not None and (column is not None or by is not None or repeat):
        raise ConfigError("A stored split holds the records' own ids: leave out column, by and repeat.")
    if stored is not None:
        return load_split(find_file(stored, manifest.root))
    if table is not None:
        path = find_file(table, manifest.root)
        lists, name = read_parts(path, column=column, split_column=split_column), path.name.split(".")[0]
    else:
        paths = {part: find_file(file, manifest.root) for part, file in (files or {}).items()}
        lists, name = {part: read_list(path, column=column) for part, path in paths.items()}, "ids"
    return listed(manifest, lists, name=name, by=by, repeat=repeat)


def listed(manifest: Manifest, lists: Mapping[str, Sequence[str]], *, name: str, by: str | None, repeat: bool) -> Split:
    """The split that lists of names mean.

    Args:
        lists: part -> names.
        name: of the split.
        by: column that the names are compared with, or None.
        repeat: allow an id in several parts.

    Raises:
        DataError: if no name is found, or an id stands in several parts and `repeat` is false.
    """
    found = match(manifest, [entry for entries in lists.values() for entry in entries], by=by)
    parts = {
        part: tuple(sorted({record for entry in entries if entry in found.records for record in found.records[entry]}))
        for part, entries in lists.items()
    }
    if not repeat:
        refuse_shared(parts)
    missing = sorted({entry for entries in lists.values() for entry in entries} - found.records.keys())
    unit = {"id.patient": "patient", "id.study": "study"}.get(found.by, "image")
    return Split(name=name, rule="ids", unit=unit, parts=parts, options={"by": found.by}, missing=tuple(missing))
