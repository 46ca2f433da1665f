"""A pool: what one prefix of views made of many records, each under the hash of what it was made of.

A folder with ``spec.json`` (views and array shapes), one flat file of equal rows for each array field, a folder with a
file a row for each field of stacks (whose depth differs, see `medvlp.data.stacks`), and ``index.sqlite`` (record key ->
row, and the words and geometry that the prefix changed). Rows are synced before they are indexed, so an interrupted
filling is resumed and never read half written; as that can take longer than small pictures, it is done once a second.
Pixels are stored with as many bits as the prefix declares to round to, and each row is checked to come back exactly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.files import read_json, write_json
from medvlp.core.sample import Sample, Stack
from medvlp.core.views import View
from medvlp.data.cache import full_disk_refused, hold, open_database, private_folder
from medvlp.data.parallel import chunked, run_chunks
from medvlp.data.pipeline import Records, added_fields, apply_views
from medvlp.data.pool_rows import Array, Job, Row, depths_of, open_arrays, stack_file, write_rows
from medvlp.data.quantise import Bits
from medvlp.data.quarantine import quarantined
from medvlp.data.stacks import LazyStack, stored_size

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, row INTEGER, changes TEXT) WITHOUT ROWID"
_STORABLE = ("image", "stack", "volume", "vector")
_CHUNK = 64
_CHUNK_OF_STACKS = 4  # a volume takes seconds: what an interruption costs is at most so many, for each process
_SECONDS = 1.0  # between two times that rows of pictures are synced and indexed


@runtime_checkable
class Rounded(Protocol):
    """A view that rounds the pixels of its field, or of those that it adds, to 2^bits levels."""

    bits: Bits
    field: str


def opened_field(views: Sequence[View], kind: str) -> str:
    """Return the field in which views look for the files of a kind; the kind itself where none opens any."""
    opening = [view for view in views if isinstance(view, Rounded)]
    own = [v for v in opening if kind in {parse_field(f).kind for f in added_fields([v]) or (v.field,)}]
    return next((view.field for view in own or opening), kind)


class Pool:
    """An open pool; it is held (not evicted) until the object is gone."""

    def __init__(self, folder: Path, views: Sequence[View]) -> None:
        self.folder = folder
        self.views = tuple(views)
        self._held = hold(folder / "held")
        (folder / "used").touch(mode=0o600)
        os.utime(folder / "used")
        self._database = open_database(folder / "index.sqlite", _TABLE)
        self.arrays: dict[str, Array] = {}
        self._learnt: set[str] = set()
        if (folder / "spec.json").exists():
            self.arrays, self._learnt = _read_spec(folder / "spec.json")
            self._forget_lost_rows()

    def catch_up(self) -> None:
        """Take over what another process learnt of the arrays since this pool was opened; asked under the lock."""
        newer = Pool(self.folder, self.views)
        self.arrays = newer.arrays
        newer.finish()

    def finish(self) -> None:
        """Close the index; the arrays stay readable and the pool held."""
        self._database.close()

    def __del__(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def lookup(self, keys: Sequence[str]) -> list[tuple[int, str] | None]:
        """Row and changes of each key, None where it is not there."""
        ask = "SELECT row, changes FROM rows WHERE key = ?"
        return [self._database.execute(ask, (key,)).fetchone() for key in keys]

    def learn_shapes(self, records: Records, todo: Sequence[int], *, patience: int) -> list[Row]:
        """Find out which arrays the prefix makes, from the first readable record that has each image-like field.

        At most `patience` of the records `todo` may fail meanwhile; those that did are returned.
        """
        failed: dict[int, Row] = {}
        manifest = records.manifest
        for name in manifest.file_columns or ("id",):
            valid = manifest.arrow(name).is_valid()
            for index in todo:
                if name in self.arrays or name in self._learnt or len(failed) > patience:
                    break
                if index in failed or not valid[index].as_py():
                    continue
                before = records.sample(index)
                try:
                    after = apply_views(before, self.views)
                except DataError as error:
                    failed[index] = Row(index, failure=quarantined(before.id, error))
                    continue
                self._learn(name, before, after)
                break
        return list(failed.values())

    @property
    def row_bytes(self) -> int:
        """Bytes of one record over all arrays."""
        return sum(array.row_bytes for array in self.arrays.values())

    @property
    def reserved(self) -> int:
        """Bytes on disk behind the last row, which a filling that was killed had taken and the next one uses."""
        sizes = {self.folder / f"{n}.bin": each.row_bytes for n, each in self.arrays.items() if each.depth is None}
        rows = self._next_row()
        return sum(max(0, 512 * path.stat().st_blocks - rows * size) for path, size in sizes.items() if path.exists())

    def fill(self, records: Records, todo: Sequence[tuple[int, str]], *, workers: int) -> Iterator[list[Row]]:
        """Make and store records, chunk by chunk."""
        row = self._next_row()
        stacks = [name for name, array in self.arrays.items() if array.depth is not None]
        size = _CHUNK_OF_STACKS if stacks else _CHUNK
        chunks = chunked([(index, row + place) for place, (index, _) in enumerate(todo)], size)
        keys = dict(todo)
        for name in stacks:
            private_folder(self.folder / name)
        with full_disk_refused(self.folder):
            descriptors = [self._reserve(name, row + len(todo)) for name in self.arrays if name not in stacks]
        good: list[tuple[str, int, str]] = []
        indexed = time.monotonic()
        try:
            job = Job(records, self.views, self.folder, self.arrays)
            for results in run_chunks(write_rows, job, chunks, workers=workers):
                good += [(keys[r.index], r.row, r.changes) for r in results if r.failure is None]
                if stacks or time.monotonic() - indexed >= _SECONDS:
                    self._index(good, descriptors)
                    good, indexed = [], time.monotonic()
                yield [replace(r, bytes=self._bytes(r)) for r in results]
        finally:
            try:
                self._index(good, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def open_arrays(self) -> dict[str, np.ndarray]:
        """Memory-mapped (rows, ...) arrays, read only."""
        return open_arrays(self.folder, self.arrays)

    # ----------------------------------------------------------------------------------------------------------------

    def _index(self, rows: Sequence[tuple[str, int, str]], descriptors: Sequence[int]) -> None:
        with full_disk_refused(self.folder), self._database:
            for descriptor in descriptors:
                os.fsync(descriptor)
            self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)

    def _next_row(self) -> int:
        return int(self._database.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM rows").fetchone()[0])

    def _learn(self, source: str, before: Sample, after: Sample) -> None:
        for name, value in after.fields.items():
            if name in self.arrays or value is before.fields.get(name):
                continue
            if isinstance(value, LazyStack | Stack):
                shape = value.shape if isinstance(value, LazyStack) else tuple(value.pixels.shape[1:])
                self.arrays[name] = Array(shape, _bits_of(name, self.views), depth=len(value.position))
            elif isinstance(value, Tensor):
                if parse_field(name).kind not in _STORABLE or value.dtype != torch.float32:
                    raise ConfigError(f"The prefix makes {name!r}, which the cache cannot hold: make it in the suffix.")
                self.arrays[name] = Array(tuple(value.shape), _bits_of(name, self.views))
        self._learnt.add(source)
        arrays = {name: asdict(array) for name, array in self.arrays.items()}
        write_json(self.folder / "spec.json", {"arrays": arrays, "learnt": sorted(self._learnt)})
        (self.folder / "spec.json").chmod(0o600)

    def _bytes(self, result: Row) -> int:
        if result.failure is not None:
            return 0
        fixed = sum(array.row_bytes for array in self.arrays.values() if array.depth is None)
        arrays = ((self.arrays[name], depth) for name, depth in depths_of(result.changes).items())
        return fixed + sum(stored_size(depth, array.shape, array.bits) for array, depth in arrays)

    def _reserve(self, name: str, rows: int) -> int:
        descriptor = os.open(self.folder / f"{name}.bin", os.O_CREAT | os.O_RDWR, 0o600)
        size = rows * self.arrays[name].row_bytes
        if size > os.fstat(descriptor).st_size:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)  # a full disk is noticed now, not in the middle
            else:
                os.ftruncate(descriptor, size)
        return descriptor

    def _forget_lost_rows(self) -> None:
        """Drop index entries whose rows are not in the files (cut off by somebody): they are made again.

        The index is read before the files: what another process stores meanwhile is not taken for lost.
        """
        last = self._database.execute("SELECT COALESCE(MAX(row), -1) FROM rows").fetchone()[0]
        for name, array in self.arrays.items():
            if array.depth is not None:
                self._forget_lost_stacks(name, array)
                continue
            path = self.folder / f"{name}.bin"
            rows = path.stat().st_size // array.row_bytes if path.exists() else 0
            with self._database:
                self._database.execute("DELETE FROM rows WHERE row BETWEEN ? AND ?", (rows, last))

    def _forget_lost_stacks(self, name: str, array: Array) -> None:
        folder = self.folder / name
        known = self._database.execute("SELECT row, changes FROM rows").fetchall()
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)} if folder.is_dir() else {}
        lost = []
        for row, changes in known:
            depth = depths_of(changes).get(name)
            if depth is not None and sizes.get(stack_file(row), 0) != stored_size(depth, array.shape, array.bits):
                lost.append((row,))
        with self._database:
            self._database.executemany("DELETE FROM rows WHERE row = ?", lost)


def _read_spec(path: Path) -> tuple[dict[str, Array], set[str]]:
    spec = read_json(path)
    saved, learnt = spec.get("arrays"), spec.get("learnt", [])
    try:
        if not isinstance(saved, dict) or not isinstance(learnt, list):
            raise TypeError
        arrays = {
            name: Array(tuple(array["shape"]), array["bits"], array.get("depth")) for name, array in saved.items()
        }
        return arrays, {str(name) for name in learnt}
    except (KeyError, TypeError):
        raise DataError(
            f"The cache pool {path.parent} is damaged: remove that folder, it will be made again."
        ) from None


def _bits_of(name: str, views: Sequence[View]) -> Bits:
    bits: Bits = 32
    for view in views:
        if isinstance(view, Rounded) and (view.field == name or name in added_fields([view])):
            bits = view.bits
    return bits
