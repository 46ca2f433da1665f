"""A pool: what one prefix of views made of many records, each under the hash of what it was made of.

A folder with ``spec.json`` (views and array shapes), one flat file of equal rows for each array field, and
``index.sqlite`` (record key -> row, and the words and geometry that the prefix changed). Rows are synced before they
are indexed, so an interrupted filling is resumed and never read half written. Pixels are stored with as many bits as
the prefix declares to round to, and each row is checked to come back exactly.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.fields import parse_field
from medvlp.core.files import read_json, write_json
from medvlp.core.protocols import View
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data._columns import PATH_KINDS
from medvlp.data.cache import hold, open_database, private_folder
from medvlp.data.parallel import chunked, run_chunks
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.quantise import Bits, decode, encode, stored_dtype
from medvlp.data.quarantine import Quarantined, quarantined

__all__ = ["Array", "Filled", "Pool", "Rounded"]

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, row INTEGER, changes TEXT) WITHOUT ROWID"
_STORABLE = ("image", "stack", "volume", "vector")
_CHUNK = 64


@runtime_checkable
class Rounded(Protocol):
    """A view that rounds the pixels of its field to 2^bits levels."""

    bits: Bits
    field: str


@dataclass(frozen=True)
class Array:
    """A stored field: the shape of one row, and the bits of a value."""

    shape: tuple[int, ...]
    bits: Bits

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape) * stored_dtype(self.bits).itemsize


@dataclass(frozen=True)
class Filled:
    """Outcome of one record: its index in the manifest, and why it failed, if it did."""

    index: int
    failure: Quarantined | None


class Pool:
    """An open pool; it is held (not evicted) until the object is gone.

    Args:
        folder: made private if absent.
        views: the prefix.
    """

    def __init__(self, folder: Path, views: Sequence[View]) -> None:
        self.folder = private_folder(folder)
        self.views = tuple(views)
        self._held = hold(folder / "held")
        (folder / "used").touch(mode=0o600)
        os.utime(folder / "used")
        self._database = open_database(folder / "index.sqlite", _TABLE)
        self.arrays: dict[str, Array] = {}
        if (folder / "spec.json").exists():
            self.arrays = _read_spec(folder / "spec.json")
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

    def learn_shapes(self, records: Records, todo: Sequence[int], *, patience: int) -> list[Filled]:
        """Find out which arrays the prefix makes, from the first readable record that has each image-like field.

        Args:
            records: of the manifest.
            todo: indices that may be tried.
            patience: failures after which it gives up.

        Returns:
            The records that failed meanwhile.
        """
        failed: dict[int, Filled] = {}
        manifest = records.manifest
        fields = [name for kind in PATH_KINDS for name in manifest.names_of(kind)] or ["id"]
        for name in fields:
            valid = manifest.arrow(name).is_valid()
            for index in todo:
                if name in self.arrays or len(failed) > patience:
                    break
                if index in failed or not valid[index].as_py():
                    continue
                before = records.sample(index)
                try:
                    after = apply_views(before, self.views)
                except DataError as error:
                    failed[index] = Filled(index, quarantined(before.id, error))
                    continue
                self._learn(before, after)
                break
        return list(failed.values())

    @property
    def row_bytes(self) -> int:
        """Bytes of one record over all arrays."""
        return sum(array.row_bytes for array in self.arrays.values())

    def fill(self, records: Records, todo: Sequence[tuple[int, str]], *, workers: int) -> Iterator[list[Filled]]:
        """Make and store records, chunk by chunk.

        Args:
            records: of the manifest.
            todo: (index, key) pairs.
            workers: processes.

        Raises:
            UserError: if the disk is full.
            ConfigError: if the prefix makes something that cannot be stored.
        """
        row = int(self._database.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM rows").fetchone()[0])
        chunks = chunked([(index, row + place) for place, (index, _) in enumerate(todo)], _CHUNK)
        keys = dict(todo)
        with _told_when_full(self.folder):
            descriptors = [self._reserve(name, row + len(todo)) for name in self.arrays]
        try:
            job = _Job(records, self.views, self.folder, self.arrays)
            for results in run_chunks(_fill, job, chunks, workers=workers):
                good = [(keys[r.index], r.row, r.changes) for r in results if r.failure is None]
                with _told_when_full(self.folder), self._database:
                    for descriptor in descriptors:
                        os.fsync(descriptor)
                    self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", good)
                yield [Filled(r.index, r.failure) for r in results]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def open_arrays(self) -> dict[str, np.ndarray]:
        """Memory-mapped (rows, ...) arrays, read only."""
        return {name: open_array(self.folder / f"{name}.bin", array) for name, array in self.arrays.items()}

    # ----------------------------------------------------------------------------------------------------------------

    def _learn(self, before: Sample, after: Sample) -> None:
        for name, value in after.fields.items():
            if isinstance(value, Tensor) and name not in self.arrays and value is not before.fields.get(name):
                if parse_field(name).kind not in _STORABLE or value.dtype != torch.float32:
                    raise ConfigError(f"The prefix makes {name!r}, which the cache cannot hold: make it in the suffix.")
                self.arrays[name] = Array(tuple(value.shape), _bits_of(name, self.views))
        arrays = {name: {"shape": list(array.shape), "bits": array.bits} for name, array in self.arrays.items()}
        write_json(self.folder / "spec.json", {"arrays": arrays})
        (self.folder / "spec.json").chmod(0o600)

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
        """Drop index entries whose rows are not in the files (cut off by somebody): they are made again."""
        for name, array in self.arrays.items():
            path = self.folder / f"{name}.bin"
            rows = path.stat().st_size // array.row_bytes if path.exists() else 0
            with self._database:
                self._database.execute("DELETE FROM rows WHERE row >= ?", (rows,))


def _read_spec(path: Path) -> dict[str, Array]:
    saved = read_json(path).get("arrays")
    try:
        if not isinstance(saved, dict):
            raise TypeError
        return {name: Array(tuple(spec["shape"]), spec["bits"]) for name, spec in saved.items()}
    except (KeyError, TypeError):
        raise DataError(
            f"The cache pool {path.parent} is damaged: remove that folder, it will be made again."
        ) from None


def open_array(path: Path, array: Array) -> np.ndarray:
    """Memory-map the rows of a file."""
    rows = path.stat().st_size // array.row_bytes if path.exists() else 0
    if rows == 0:
        return np.zeros((0, *array.shape), stored_dtype(array.bits))
    return np.asarray(np.memmap(path, dtype=stored_dtype(array.bits), mode="r", shape=(rows, *array.shape)))


def read_row(
    arrays: Mapping[str, Array], data: Mapping[str, np.ndarray], row: int, changes: str, base: Sample
) -> Sample:
    """Put a stored row over a record's fields."""
    told = json.loads(changes)
    fields = dict(base.fields)
    for name in told["has"]:
        fields[name] = decode(data[name][row], arrays[name].bits)
    fields.update(told["words"])
    for name in told["gone"]:
        fields.pop(name, None)
    geometry = {
        name: ImageRecord(seed=0, box=tuple(box), flip=False, spacing=None if spacing is None else tuple(spacing))
        for name, (box, spacing) in told["geometry"].items()
    }
    return Sample(base.id, fields, geometry)


@dataclass(frozen=True)
class _Job:
    records: Records
    views: tuple[View, ...]
    folder: Path
    arrays: Mapping[str, Array]


@dataclass(frozen=True)
class _Result:
    index: int
    row: int
    changes: str
    failure: Quarantined | None


def _fill(job: _Job, chunk: Sequence[tuple[int, int]]) -> list[_Result]:
    files = {name: os.open(job.folder / f"{name}.bin", os.O_WRONLY) for name in job.arrays}
    try:
        return [_fill_one(job, index, row, files) for index, row in chunk]
    finally:
        for descriptor in files.values():
            os.close(descriptor)


def _fill_one(job: _Job, index: int, row: int, files: Mapping[str, int]) -> _Result:
    before = job.records.sample(index)
    try:
        after = apply_views(before, job.views)
    except DataError as error:
        return _Result(index, row, "", quarantined(before.id, error))
    has: list[str] = []
    words: dict[str, str] = {}
    for name, value in after.fields.items():
        if isinstance(value, Tensor):
            if value is before.fields.get(name):
                continue
            with _told_when_full(job.folder):
                _write_row(job, name, value, row, files)
            has.append(name)
        elif value != before.fields.get(name):
            if not isinstance(value, str):
                raise ConfigError(f"The prefix makes {name!r}, which the cache cannot hold: make it in the suffix.")
            words[name] = value
    gone = [name for name in before.fields if name not in after.fields]
    geometry = {name: (record.box, record.spacing) for name, record in after.records.items()}
    told = {"has": has, "words": words, "gone": gone, "geometry": geometry}
    return _Result(index, row, json.dumps(told, ensure_ascii=False), None)


def _write_row(job: _Job, name: str, value: Tensor, row: int, files: Mapping[str, int]) -> None:
    array = job.arrays.get(name)
    if array is None or tuple(value.shape) != array.shape:
        there = None if array is None else array.shape
        raise ConfigError(
            f"The prefix makes {name!r} of shape {tuple(value.shape)}, and {there} for other records: it must "
            f"bring all to "
            "one shape."
        )
    stored = encode(value.contiguous(), array.bits)
    if not torch.equal(decode(stored, array.bits), value):
        raise ConfigError(
            f"The prefix says that {name!r} has {array.bits} bits and gives other values: a view after `read` "
            f"must not change "
            "pixels, or `read` must have bits: 32."
        )
    os.pwrite(files[name], np.ascontiguousarray(stored).tobytes(), row * array.row_bytes)


def _bits_of(name: str, views: Sequence[View]) -> Bits:
    bits: Bits = 32
    for view in views:
        if isinstance(view, Rounded) and view.field == name:
            bits = view.bits
    return bits


class _told_when_full:  # noqa: N801 (reads as the statement it is)
    """Turn a full disk into a sentence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
            raise UserError(
                f"The disk of the cache {self.folder} is full: make room, or set MEDVLP_CACHE to a folder "
                f"elsewhere; what was "
                "prepared is kept."
            ) from error
