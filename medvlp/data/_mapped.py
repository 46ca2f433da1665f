"""A large manifest, checked once and then mapped from the cache: its columns are pages of a file, not memory.

Ten million rows of strings take gigabytes to decode and half a minute to check. The first reading writes them, piece by
piece and in the types of `medvlp.data._columns`, to one Arrow file in the cache, known by the manifest's path, size and
time; every later one, and every process on the machine, maps that file. What is doubtful here (a value that is refused,
an id that seems to stand twice) is left to the ordinary reading, whose sentences name it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pandas.util import hash_array

from medvlp.core.errors import DataError
from medvlp.core.files import sha256_of, written_whole
from medvlp.data import _columns
from medvlp.data._groups import open_parquet
from medvlp.data.cache import Cache

LARGE = 1 << 20
"""Rows from which on a manifest is mapped."""
_BATCH = 1 << 17  # rows


def mapped_table(path: Path, *, cache: Cache) -> pa.Table | None:
    """Return the columns of a Parquet manifest as `normal` makes them, mapped; None where it is not to be trusted."""
    facts = path.stat()
    own = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:20]
    stamp = f"{facts.st_size}-{facts.st_mtime_ns}-{sha256_of(Path(_columns.__file__))[:8]}"
    file = cache.files / f"manifest-{own}-{stamp}.arrow"
    if not file.is_file():
        for older in cache.files.glob(f"manifest-{own}-*"):
            older.unlink(missing_ok=True)
        try:
            with written_whole(file) as temporary:
                _write(path, temporary)
        except DataError:
            return None
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _write(path: Path, target: Path) -> None:
    source = open_parquet(path)
    schema, count = source.schema_arrow, source.metadata.num_rows
    # What a string becomes depends on no other row; numbers may, and are few bytes.
    words = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_words(name, kind)]
    whole = {
        name: _columns.normal(name, source.read(columns=[name])[name], None, "")
        for name in schema.names
        if name not in words
    }
    types = [pa.field(name, whole[name].type if name in whole else pa.string()) for name in schema.names]
    hashes, start = np.empty(count, np.uint64), 0
    target.touch(mode=0o600)
    with pa.ipc.new_file(str(target), pa.schema(types)) as file:
        for batch in source.iter_batches(batch_size=_BATCH, columns=words):
            stop = start + len(batch)
            columns = {name: _columns.normal(name, batch[name], None, "") for name in words}
            hashes[start:stop] = string_hashes(columns["id"] if "id" in columns else whole["id"][start:stop])
            made = [columns[name] if name in columns else whole[name][start:stop] for name in schema.names]
            file.write_batch(pa.record_batch(made, schema=pa.schema(types)))
            start = stop
    hashes.sort()
    if bool((hashes[1:] == hashes[:-1]).any()):
        raise DataError("An id seems to stand twice.")


def _is_words(name: str, kind: Any) -> bool:  # noqa: ANN401 (pyarrow's types have none)
    return _columns.is_words(kind) and name.partition(".")[0] not in ("label", "number", "size", "vector", "boxes")


def string_hashes(words: pa.Array) -> np.ndarray:
    """Return 64 bits of each string, (N,) uint64: strings of different bits are different.

    Raises:
        DataError: if one is missing.
    """
    if words.null_count:
        raise DataError("A row has no id.")
    return hash_array(words.to_numpy(zero_copy_only=False), categorize=False)
