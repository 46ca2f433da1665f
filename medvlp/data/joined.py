"""Several data sets as one manifest: train here, test there.

A record's ``id`` goes under the name of its set (``there/00000001_000.png``), patients and studies under that of their
numbering (``nih_chestxray14:17``, see `medvlp.data.leakage.rows.namespace_of`): two sets of one numbering share their
patients, and a check of leaks sees them. The column ``set`` says where a record comes from; what one set does not know
is blank there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medvlp.core.errors import DataError
from medvlp.data.leakage.rows import namespace_of
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_path, within
from medvlp.io.member import url_of


def in_part(manifest: Manifest, part: str) -> Manifest:
    """Return a manifest all of whose records stand in one part.

    Example:
        >>> m = in_part(Manifest.of({"id": ["a"], "text": ["x"], "split": ["train"]}, root=Path(".")), "test")
        >>> m.column("split").tolist(), m.meta["split"]["name"]
        (['test'], 'all test')
    """
    placed = manifest.with_column("split", [part] * len(manifest))
    placed.meta["split"] = {"name": f"all {part}", "rule": "part"}
    return placed


def join_sets(sets: Mapping[str, Manifest]) -> Manifest:
    """Join manifests that were split, under a root that holds the roots of all.

    Args:
        sets: name -> manifest, each with a ``split`` column.

    Raises:
        DataError: if a path leaves the root of its set, a column is of two kinds that cannot be one, features of
            slices that another tower made are among them, or files lie in several stores.

    Example:
        >>> a = Manifest.of({"id": ["1"], "text": ["x"], "id.patient": ["7"], "split": ["train"]}, root=Path("."))
        >>> b = Manifest.of({"id": ["1"], "text": ["y"], "id.patient": ["7"], "split": ["test"]}, root=Path("."),
        ...                 meta={"layout": "openi"})
        >>> both = join_sets({"here": a, "there": b})
        >>> both.record(1)
        {'id': 'there/1', 'text': 'y', 'id.patient': 'openi:7', 'split': 'test', 'set': 'there'}
    """
    slices = [manifest.meta.get("slices") for manifest in sets.values()]
    if any(each != slices[0] for each in slices):
        raise DataError("Of data.sets some hold features of slices and others do not, or of another tower: cache all.")
    stores = dict.fromkeys("/".join((url_of(each.root) or "").split("/")[:3]) for each in sets.values())  # s3://bucket
    if len(stores) > 1:
        where = " and ".join(store or "this machine's disk" for store in stores)
        raise DataError(f"The data sets lie in several stores ({where}): bring their files to one.")
    root = Path(os.path.commonpath([m.root if url_of(m.root) else m.root.resolve() for m in sets.values()]))
    tables = {name: _table(name, manifest, root) for name, manifest in sets.items()}
    names = dict.fromkeys(column for table in tables.values() for column in table)
    counts = [len(manifest) for manifest in sets.values()]
    columns = {name: _column(name, [table.get(name) for table in tables.values()], counts) for name in names}
    return Manifest(pa.table(columns), root=root, meta=_meta(sets, slices[0]), source="The joined manifest")


def _table(name: str, manifest: Manifest, root: Path) -> dict[str, pa.Array]:
    table = {column: manifest.arrow(column) for column in manifest.names}
    numbering = namespace_of(manifest)
    if manifest.meta.get("patients_by") == "id":
        numbering = f"id@{name}"
    for column in ("id", *manifest.names_of("id")):
        begin = f"{numbering}:" if column in ("id.patient", "id.study") else f"{name}/"
        values = table[column].to_pylist()
        table[column] = pa.array([None if value is None else f"{begin}{value}" for value in values], pa.string())
    for column in manifest.file_columns:
        table[column] = pa.array([_moved(manifest, row, column, root) for row in range(len(manifest))])
    for column in manifest.names_of("mask"):
        if pa.types.is_string(table[column].type):
            values = [_mask(manifest, value, root) for value in table[column].to_pylist()]
            table[column] = pa.array(values, pa.string())
    table["set"] = pa.array([name] * len(manifest))
    return table


def _moved(manifest: Manifest, row: int, column: str, root: Path) -> str | list[str] | None:
    found = [path.relative_to(root).as_posix() for path in manifest.paths(row, column)]
    if isinstance(manifest.arrow(column)[row].as_py(), list):
        return found
    return found[0] if found else None


def _mask(manifest: Manifest, value: str | None, root: Path) -> str | None:
    if value is None:
        return None
    name = mask_path(value)[0]
    path = within(manifest.root, name)
    return path.relative_to(root).as_posix() + value[len(name) :]


def _column(name: str, parts: list[pa.Array | None], counts: list[int]) -> pa.ChunkedArray:
    there = [part for part in parts if part is not None and not pa.types.is_null(part.type)]
    # A set that knows nothing of a column takes the kind of the others.
    types = list(dict.fromkeys(part.type for part in there if part.null_count < len(part)))
    types = types or [part.type for part in there][:1]
    if len(types) > 1:
        numbers = all(pa.types.is_floating(each) or pa.types.is_integer(each) for each in types)
        lists = [each for each in types if pa.types.is_list(each)]
        if lists and not (name.partition(".")[0] == "stack" and len(types) == 2):
            raise DataError(f"The column {name!r} is of other kinds in the data sets: leave it out of one of them.")
        types = [pa.float64() if numbers else lists[0] if lists else pa.string()]
    kind = types[0] if types else pa.string()
    filled = []
    for part, count in zip(parts, counts, strict=True):
        if part is None or part.null_count == len(part):
            filled.append(pa.nulls(count, kind))
        elif pa.types.is_list(kind) and not pa.types.is_list(part.type):
            filled.append(pa.array([None if value is None else [value] for value in part.to_pylist()], kind))
        else:
            filled.append(part.cast(kind))
    pieces = (part.chunks if isinstance(part, pa.ChunkedArray) else [part] for part in filled)
    return pa.chunked_array([chunk for piece in pieces for chunk in piece], kind)


def _meta(sets: Mapping[str, Manifest], slices: object) -> dict[str, object]:
    """Keep what a reader has to know of each set, and what holds of all."""
    facts: dict[str, dict[str, Any]] = {}
    flaws = []
    for name, manifest in sets.items():
        made: Any = manifest.meta.get("split")
        facts[name] = {
            "layout": str(manifest.meta.get("layout", "")),
            "namespace": namespace_of(manifest),
            "manifest": manifest.hash,
            "split": {key: made[key] for key in ("name", "rule", "card") if made.get(key)} if made else None,
        }
        flaws += [f"{name}: {made['flaw']}"] if made and made.get("flaw") else []
    by, read = (
        [f"{m.meta[fact]} of {name}" for name, m in sets.items() if m.meta.get(fact)]
        for fact in ("patients_by", "labels_read")
    )
    return {
        "layout": "",
        "sets": facts,
        "synthetic": any(bool(manifest.meta.get("synthetic")) for manifest in sets.values()),
        "split": {"name": "of each data set", "rule": "sets", "flaw": "; ".join(flaws)},
        **({"patients_by": " and ".join(by)} if by else {}),
        **({"labels_read": " and ".join(read)} if read else {}),
        **({} if slices is None else {"slices": slices}),
    }
