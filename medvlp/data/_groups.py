"""Rows written to Parquet as they come: the file does not tell in what pieces, and few of them are in memory; read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 1 << 17
"""Rows of a group of the file, all of which are in memory once."""


def write_groups(path: Path, pieces: Iterable[pa.Table], metadata: dict[str, str]) -> int:
    """Write tables of the same columns end to end, and return the number of rows; without any there is no file."""
    count = 0
    with ExitStack() as stack:
        writer = None
        for group in _regrouped(pieces):
            table = group.replace_schema_metadata(metadata)
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)
            count += len(table)
    return count


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file whose facts may be long: half a million names of what was left out are above Arrow's own limit."""
    return pq.ParquetFile(path, thrift_string_size_limit=(1 << 31) - 1)


def _regrouped(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for piece in pieces:
        waiting.append(piece)
        while sum(map(len, waiting)) >= GROUP:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, GROUP).combine_chunks()
            waiting = [whole.slice(GROUP)]
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting).combine_chunks()
