"""Manifest: the table of a cohort, one row a sample, in Parquet; everything that trains or evaluates starts from it.

Columns are field names (``image``, ``text``, ``id.patient``, ``label.effusion``, ``number.weight``) and free attributes
(``split``, ``view_position``, ``sex``, ``age``, ``site``, ``scanner``, ``deidentified``). ``id`` is the unique name
of the row. Image paths are relative to `root` and must stay inside it; a ``stack`` may be a list of them. A saved
manifest names its root, which may be any folder: give `root` with a manifest from elsewhere, then it cannot name other
files. The table stays in Arrow memory, so rows are neither Python objects nor copied by forked workers; a large one is
mapped from the cache (`medvlp.data._mapped`), and a selection of rows copies no column before somebody asks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.fields import KINDS
from medvlp.core.files import no_file, written_whole
from medvlp.data import _mapped
from medvlp.data._columns import PATH_KINDS, Column, characters, normal, pc, plain_numbers
from medvlp.data._groups import GROUP, open_parquet, write_groups
from medvlp.data.cache import Cache
from medvlp.data.text_table import read_table
from medvlp.io.member import below, url_of

_REQUIRED_ONE_OF = ("image", "stack", "volume", "text", "vector")


class Manifest:
    """A cohort: one row a record, columns named by fields.

    Args:
        table: columns as the module says; blank strings become missing values.
        root: folder that image paths are relative to.
        meta: plain data about its making (layout, unjoined files ...), saved with it.
        source: what error sentences call it.

    Raises:
        DataError: if it is empty, lacks ``id`` or anything to encode, an id stands twice, a column's kind is unknown or
            a label is not 1, 0, -1 or blank.

    Example:
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["Clear lungs.", ""], "label.effusion": [0, 1]}, root=Path("."))
        >>> len(m), m.record(1)
        (2, {'id': 'b', 'label.effusion': 1.0})
    """

    def __init__(
        self, table: pa.Table, *, root: Path, meta: Mapping[str, object] | None = None, source: str = "The manifest"
    ) -> None:
        _check_names(table.column_names, len(table), source)
        ids = normal("id", table["id"], None, source)
        _refuse_repeated(ids, source)
        columns = {name: Column(normal(name, table[name], ids, source)) for name in table.column_names}
        self._set(columns, root, meta, source)

    def _set(self, columns: dict[str, Column], root: Path, meta: Mapping[str, object] | None, source: str) -> None:
        self.root = Path(root)
        self.meta: dict[str, object] = dict(meta or {})
        self._columns, self._source = columns, source
        self._arrays: dict[str, pa.Array | pa.ChunkedArray] = {}

    def _with(self, columns: dict[str, Column]) -> Manifest:
        """A manifest of columns that were checked already."""
        made = object.__new__(Manifest)
        made._set(columns, self.root, self.meta, self._source)
        _check_names(made.names, len(made), self._source)
        return made

    @classmethod
    def of(
        cls, columns: Mapping[str, Sequence[object]], *, root: Path, meta: Mapping[str, object] | None = None
    ) -> Manifest:
        """Make a manifest of Python lists, None where a value is missing."""
        return cls(pa.table({name: pa.array(list(values)) for name, values in columns.items()}), root=root, meta=meta)

    @classmethod
    def load(cls, path: Path, *, root: Path | None = None) -> Manifest:
        """Read Parquet, or a CSV or TSV whose header already has this module's column names.

        Args:
            root: folder of the images; default: what the file says (an absolute folder where the images did not lie
                beside it, taken at its word), else the file's own folder.

        Raises:
            DataError: if the file is missing, damaged, or no manifest, or names a root by a path that climbs out of its
                own folder, which ``save`` never writes.
        """
        path = Path(path)
        if not path.is_file():
            mend = " name a file in it, or" if path.is_dir() else ""
            raise DataError(f"The manifest {path} {no_file(path)}:{mend} make it with `medvlp data index`.")
        source, mapped = f"The manifest {path}", None
        try:
            if path.suffix.lower() in (".csv", ".tsv"):
                text = read_table(path, whole=True)
                table = pa.table({name: plain_numbers(name, text.column(name)) for name in text.names if name})
            else:
                with open_parquet(path) as file:
                    schema = file.schema_arrow
                    _check_names(schema.names, file.metadata.num_rows, source)
                    if file.metadata.num_rows >= _mapped.LARGE:
                        mapped = _mapped.mapped_table(path, cache=Cache.default())
                    table = file.read() if mapped is None else mapped.replace_schema_metadata(schema.metadata)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"The manifest {path} cannot be read ({reason}): make it again.") from None
        saved = json.loads((table.schema.metadata or {}).get(b"medvlp", b"{}"))
        folder, named = path.resolve().parent, str(saved.get("root", "."))
        fixed = Path(named).is_absolute() or url_of(named) is not None
        if root is None and not fixed and not (folder / named).resolve().is_relative_to(folder):
            raise DataError(f"The manifest {path} names a root that climbs out of its folder: give root yourself.")
        found = root if root is not None else Path(named) if fixed else folder / named
        table = table.replace_schema_metadata(None)
        if mapped is None:
            return cls(table, root=found, meta=saved.get("meta"), source=source)
        made = object.__new__(cls)
        made._set({name: Column(table[name]) for name in table.column_names}, found, saved.get("meta"), source)
        return made

    def save(self, path: Path) -> None:
        """Write Parquet whole. A root at or below the file's folder is kept relative, so both can be moved together."""
        self.save_pieces(path, (self.piece(start, start + GROUP) for start in range(0, len(self), GROUP)))

    def save_pieces(self, path: Path, pieces: Iterable[pa.Table]) -> int:
        """Write rows that come in pieces, such as `piece` gives, as a manifest of this root; return how many."""
        path = Path(path)
        folder, root = path.resolve().parent, self._real_root
        saved = str(root.relative_to(folder)) if root.is_relative_to(folder) else str(root)
        meta = json.dumps({"root": saved, "meta": self.meta}, ensure_ascii=False, default=str)
        with written_whole(path) as temporary:
            return write_groups(temporary, pieces, {"medvlp": meta})

    # looking --------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._columns["id"])

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._columns)

    @property
    def table(self) -> pa.Table:
        """All columns as one Arrow table."""
        return pa.table({name: self.arrow(name) for name in self.names})

    def piece(self, start: int, stop: int) -> pa.Table:
        """The columns of some rows that follow each other; of a large manifest no others are read."""
        return pa.table({name: self._columns[name].piece(start, stop) for name in self.names})

    def names_of(self, kind: str) -> tuple[str, ...]:
        """Names of the columns of a field kind, e.g. all labels; the row's own ``id`` is not one of them.

        Example:
            >>> Manifest.of({"id": ["a"], "text": ["x"], "id.patient": ["p"]}, root=Path(".")).names_of("id")
            ('id.patient',)
        """
        return tuple(n for n in self.names if n != "id" and n.partition(".")[0] == kind and kind in KINDS)

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold files: images, stacks and volumes."""
        return tuple(name for kind in PATH_KINDS for name in self.names_of(kind))

    def column(self, name: str) -> np.ndarray:
        """One column: strings as an object array with None where missing, numbers as floats with NaN where missing.

        Raises:
            DataError: if there is no such column, with the nearest name.
        """
        array = self.arrow(name)
        if pa.types.is_integer(array.type) and array.null_count:
            array = array.cast(pa.float64())
        return array.to_numpy(zero_copy_only=False)

    def arrow(self, name: str) -> pa.Array:
        """One column as an Arrow array; of a large manifest that is mapped from the cache, a chunked one."""
        if name not in self._arrays:
            self._arrays[name] = self._column(name).whole()
        return self._arrays[name]

    def value(self, name: str, index: int) -> object:
        """One value, None where it is missing; no column is copied for it.

        Example:
            >>> Manifest.of({"id": ["a", "b"], "text": ["x", "y"]}, root=Path(".")).take([1]).value("text", 0)
            'y'
        """
        column = self._column(name)
        return column.values[index if column.rows is None else int(column.rows[index])].as_py()

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            raise DataError(f"{self._source} has no column {name!r}: {did_you_mean(name, self.names)}.")
        return self._columns[name]

    def record(self, index: int) -> dict[str, object]:
        """One row, without its missing values."""
        values = ((name, self.value(name, index)) for name in self.names)
        return {name: value for name, value in values if value is not None}

    def path(self, index: int, field: str = "image") -> Path | None:
        """The file (or folder) of an image-like field, or None where the row has none.

        Raises:
            DataError: as `paths`, or if the row has several files.
        """
        found = self.paths(index, field)
        if len(found) > 1:
            raise DataError(f"{self._place(index, field)} has {len(found)} files: ask for its paths.")
        return found[0] if found else None

    def paths(self, index: int, field: str = "image") -> tuple[Path, ...]:
        """The files of an image-like field in their order: none, one, or those of a stack.

        Raises:
            DataError: if a path leaves `root`, also by a symbolic link, or is none (NUL, links in a circle).
        """
        value = self.value(field, index)
        return tuple(
            self._resolved(index, field, each) for each in (value if isinstance(value, list) else [value]) if each
        )

    def _resolved(self, index: int, field: str, value: str) -> Path:
        try:
            path = below(self._real_root, value)
        except (ValueError, RuntimeError, OSError) as error:
            reason = type(error).__name__
            raise DataError(f"{self._place(index, field)} is no path ({reason}): index the data again.") from None
        if path is None:
            where = f"{self._place(index, field)} leaves the folder {self.root}"
            raise DataError(f"{where}: name a folder that holds all images (data.root, or --images).")
        return path

    def _place(self, index: int, field: str) -> str:
        return f"{self._source}: the {field} of record {self.value('id', index)!r}"

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 of all names and values; neither `root` nor `meta` enter."""
        digest = hashlib.sha256()
        for name in sorted(self.names):
            array = self.arrow(name)
            digest.update(f"\x1e{name}\x1f{len(array)}\x1f".encode())
            if pa.types.is_string(array.type):
                chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
                filled = [chunk.fill_null("\x00") for chunk in chunks]
                for chunk in filled:
                    digest.update(np.ascontiguousarray(pc.binary_length(chunk).to_numpy(zero_copy_only=False)).data)
                for chunk in filled:
                    digest.update(characters(chunk)[0].data)
            elif pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
                digest.update(np.asarray(self.column(name), dtype=np.float64).tobytes())
            else:
                digest.update(json.dumps(array.to_pylist()).encode())
        return digest.hexdigest()[:16]

    # choosing -------------------------------------------------------------------------------------------------------

    def take(self, index: np.ndarray | Sequence[int]) -> Manifest:
        """Some rows, by integer index or boolean mask."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        if len(np.unique(chosen)) < len(chosen):
            _refuse_repeated(self.arrow("id").take(pa.array(chosen)), self._source)
        rows = {id(None): chosen}  # columns that were taken together share their rows
        for column in self._columns.values():
            if column.rows is not None and id(column.rows) not in rows:
                rows[id(column.rows)] = column.rows[chosen]
        return self._with(
            {name: Column(column.values, rows[id(column.rows)]) for name, column in self._columns.items()}
        )

    def where(self, conditions: Mapping[str, object]) -> Manifest:
        """Rows whose columns have the given value, or one of the given values; None asks for missing ones.

        Raises:
            DataError: for an unknown column, a value of another type, or when no row is left.

        Example:
            >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "sex": ["F", "M"]}, root=Path("."))
            >>> m.where({"sex": ["F", "O"]}).column("id").tolist()
            ['a']
        """
        keep = np.ones(len(self), dtype=bool)
        for name, wanted in conditions.items():
            keep &= self._matches(name, wanted)
            if not keep.any():
                there = sorted({str(v) for v in pc.unique(self.arrow(name)).to_pylist()[:200]})[:12]
                raise DataError(
                    f"{self._source} has no record left where {name} is {wanted!r}: the column holds "
                    f"{', '.join(there)}."
                )
        return self.take(keep)

    def having(self, *names: str) -> Manifest:
        """Rows that miss none of the named columns."""
        keep = np.ones(len(self), dtype=bool)
        for name in names:
            keep &= self.arrow(name).is_valid().to_numpy(zero_copy_only=False)
        if not keep.any():
            raise DataError(f"{self._source} has no record with all of {', '.join(names)}: check how it was indexed.")
        return self.take(keep)

    def split_of(self, name: str) -> Manifest:
        """The rows of one split."""
        if "split" not in self:
            raise DataError(f"{self._source} has no column 'split': split it by patient first, or name a split column.")
        return self.where({"split": name})

    def with_column(self, name: str, values: Sequence[object] | np.ndarray | pa.ChunkedArray) -> Manifest:
        """The same rows with one more, or another, column."""
        array = values if isinstance(values, pa.ChunkedArray) else pa.array(list(values))
        if len(array) != len(self):
            raise ValueError(f"{len(array)} values for {len(self)} rows")
        ids = None if name == "id" else self.arrow("id")
        made = normal(name, array, ids, self._source)
        if ids is None:
            _refuse_repeated(made, self._source)
        return self._with({**self._columns, name: Column(made)})

    def without(self, *names: str) -> Manifest:
        """The same rows without some columns; a name that is no column changes nothing.

        Example:
            >>> Manifest.of({"id": ["a"], "text": ["x"], "sex": ["F"]}, root=Path(".")).without("sex", "age").names
            ('id', 'text')
        """
        return self._with({name: column for name, column in self._columns.items() if name not in names})

    # ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def _real_root(self) -> Path:
        return self.root if url_of(self.root) else self.root.resolve()

    def _matches(self, name: str, wanted: object) -> np.ndarray:
        array = self.arrow(name)
        values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
        try:
            asked = pa.array([v for v in values if v is not None]).cast(array.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            raise DataError(
                f"{self._source}: {name} holds {array.type}, not {wanted!r}: ask for such a value."
            ) from None
        found = pc.is_in(array, value_set=asked, skip_nulls=True)
        if any(v is None for v in values):
            found = pc.or_(found, array.is_null())
        return found.to_numpy(zero_copy_only=False)


def _check_names(names: Sequence[str], count: int, source: str) -> None:
    if "id" not in names:
        raise DataError(f"{source} has no column 'id' (it has: {', '.join(names)}): add one unique name a row.")
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise DataError(f"{source} names the column {twice[0]!r} twice: rename or drop one.")
    if not any(name.partition(".")[0] in _REQUIRED_ONE_OF for name in names):
        raise DataError(f"{source} has nothing to encode: it needs a column of the kind {', '.join(_REQUIRED_ONE_OF)}.")
    if count == 0:
        raise DataError(f"{source} is empty: index the data again, or loosen the selection.")


def _refuse_repeated(ids: pa.Array, source: str) -> None:
    if ids.null_count:
        raise DataError(f"{source}: no id in {ids.null_count} of {len(ids)} rows: give every row a unique one.")
    counts = pc.value_counts(ids)
    repeated = pc.filter(counts, pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()
        raise DataError(
            f"{source}: {len(repeated)} ids stand more than once, the first is {first['values']!r} ({first['counts']} "
            "times): ids must be unique."
        )
