"""FeatureTable: ids and columns named by keys, in Parquet; made by one feature pass, eaten by everything after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.files import written_whole

# (R, D) array, or R arrays (n_r, D), or R strings or numbers.
Column = np.ndarray | Sequence[Any]


@dataclass(frozen=True)
class FeatureTable:
    """A table of R rows of features, columns named by keys.

    Attributes:
        ids: R sample ids; several rows may carry one id (crops, sentences).
        columns: key -> (R, D) float32 array (fixed), a list of R arrays (n_r, D) (ragged), or R strings or numbers.
        meta: plain data about its making: model hash, data hash, preset.

    Raises:
        DataError: if a column has another number of rows than there are ids.
    """

    ids: Sequence[str]
    columns: Mapping[str, Column]
    meta: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if len(values) != len(self.ids):
                raise DataError(
                    f"Column {name!r} has {len(values)} rows, the table has {len(self.ids)}: make it again."
                )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a fixed column as an array."""
        if name not in self.columns:
            raise DataError(f"The table has no column {name!r}: {did_you_mean(name, self.columns)}.")
        return np.asarray(self.columns[name])

    def vectors(self, name: str, *, dtype: DTypeLike = np.float64) -> np.ndarray:
        """Return a column of vectors (R, D), or raise a `DataError` if it holds none of one length."""
        try:
            rows = np.asarray(self[name], dtype)
        except ValueError:
            rows = np.zeros(0)
        if rows.ndim != 2:
            raise DataError(f"Column {name!r} holds no vectors of one length: make the table with `medvlp embed`.")
        return rows

    def rows(self, index: np.ndarray) -> FeatureTable:
        """Return some rows (integer index or bool mask over R)."""
        chosen = [int(i) for i in (np.flatnonzero(index) if np.asarray(index).dtype == bool else index)]
        some: dict[str, Column] = {
            name: values[chosen] if isinstance(values, np.ndarray) else [values[i] for i in chosen]
            for name, values in self.columns.items()
        }
        return FeatureTable([self.ids[i] for i in chosen], some, self.meta)

    @classmethod
    def join(cls, tables: Sequence[FeatureTable]) -> FeatureTable:
        """Put tables of the same columns end to end; axes that differ (numbers of tokens) are padded with zeros.

        Example:
            >>> one, two = (FeatureTable([i], {"text/local": np.ones((1, n, 2))}) for i, n in (("a", 1), ("b", 3)))
            >>> FeatureTable.join([one, two])["text/local"].shape
            (2, 3, 2)
        """
        columns: dict[str, Column] = {}
        for name, values in tables[0].columns.items():
            parts = [table.columns[name] for table in tables]
            if isinstance(values, np.ndarray):
                columns[name] = concatenate_rows([np.asarray(part) for part in parts])
            else:
                columns[name] = [row for part in parts for row in part]
        return cls([row for table in tables for row in table.ids], columns, tables[0].meta)

    def save(self, path: Path) -> None:
        """Write Parquet whole; (R, D) arrays become fixed-size lists, the rest lists or plain columns."""
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays: dict[str, pa.Array] = {"id": pa.array(list(self.ids), pa.string())}
        for name, values in self.columns.items():
            if isinstance(values, np.ndarray) and values.ndim == 2:
                flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
                arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            elif not isinstance(values, np.ndarray) and len(values) and isinstance(values[0], np.ndarray):
                arrays[name] = pa.array([np.asarray(v, dtype=np.float32).tolist() for v in values])
            else:
                arrays[name] = pa.array(values.tolist() if isinstance(values, np.ndarray) else list(values))
        table = pa.table(arrays).replace_schema_metadata({"medvlp": json.dumps(dict(self.meta), default=str)})
        with written_whole(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: Path) -> FeatureTable:
        """Read a table from a Parquet file.

        Raises:
            DataError: if the file is missing, damaged or without an id column.
        """
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: make the table with `medvlp embed`.") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} is not a readable Parquet file ({error}): make it again.") from None
        if "id" not in table.column_names:
            raise DataError(f"{path} has no column 'id': it is not a feature table.")
        columns: dict[str, Column] = {}
        for name in table.column_names:
            if name == "id":
                continue
            column = table[name]
            if pa.types.is_fixed_size_list(column.type):
                blank, size = np.flatnonzero(~column.is_valid().to_numpy()), column.type.list_size
                rows = column.combine_chunks().flatten().to_numpy().reshape(len(table) - len(blank), size)
                # A row that is blank, as other programs write it, is one of NaN.
                columns[name] = np.insert(1.0 * rows, blank - np.arange(len(blank)), np.nan, 0) if len(blank) else rows
            elif pa.types.is_list(column.type):
                columns[name] = [np.asarray(v, dtype=np.float32) for v in column.to_pylist()]
            elif pa.types.is_string(column.type):
                columns[name] = column.to_pylist()
            else:
                columns[name] = column.to_numpy()
        meta = json.loads((table.schema.metadata or {}).get(b"medvlp", b"{}"))
        return cls(table["id"].to_pylist(), columns, meta)


def concatenate_rows(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate along rows; other axes are padded with zeros to the longest.

    Example:
        >>> concatenate_rows([np.ones((1, 1)), np.ones((1, 2))]).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    shape = [max(each.shape[axis] for each in pieces) for axis in range(1, pieces[0].ndim)]
    if all(list(each.shape[1:]) == shape for each in pieces):
        return np.concatenate(list(pieces))
    pads = [[(0, 0), *((0, s - own) for s, own in zip(shape, p.shape[1:], strict=True))] for p in pieces]
    return np.concatenate([np.pad(p, pad) for p, pad in zip(pieces, pads, strict=True)])
