"""A pool: what one prefix of views made of many records, each under the hash of what it was made of.

A folder with ``spec.json`` (views and array shapes), one flat file of equal rows for each array field, a folder with a
file a row for each field of stacks (whose depth differs, see `medvlp.data.stacks`), and ``index.sqlite`` (record key ->
row, and the words and geometry that the prefix changed). Rows are synced before they are indexed, so an interrupted
filling is resumed and never read half written. Pixels are stored with as many bits as the prefix declares to round to,
and each row is checked to come back exactly.
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
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data._columns import PATH_KINDS
from medvlp.data.cache import hold, open_database, private_folder
from medvlp.data.parallel import chunked, run_chunks
from medvlp.data.pipeline import Records, added_fields, apply_views
from medvlp.data.quantise import Bits, decode, encode, stored_dtype
from medvlp.data.quarantine import Quarantined, quarantined
from medvlp.data.stacks import LazyStack, StoredStack, stored_size, write_stack

__all__ = ["Array", "Filled", "Pool", "Rounded", "depths_of"]

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, row INTEGER, changes TEXT) WITHOUT ROWID"
_STORABLE = ("image", "stack", "volume", "vector")
_CHUNK = 64
_CHUNK_OF_STACKS = 4  # a volume takes seconds: what an interruption costs is at most so many, for each process


@runtime_checkable
class Rounded(Protocol):
    """A view that rounds the pixels of its field, or of those that it adds, to 2^bits levels."""

    bits: Bits
    field: str


@dataclass(frozen=True)
class Array:
    """A stored field.

    Attributes:
        shape: of one row; of one slice of a stack.
        bits: of a value.
        depth: None, or that this is a field of stacks: the number of slices of the first one, others may differ.
    """

    shape: tuple[int, ...]
    bits: Bits
    depth: int | None = None

    @property
    def row_bytes(self) -> int:
        """Size of a row; of a stack as deep as the first."""
        if self.depth is not None:
            return stored_size(self.depth, self.shape, self.bits)
        return math.prod(self.shape) * stored_dtype(self.bits).itemsize


@dataclass(frozen=True)
class Filled:
    """Outcome of one record: its index in the manifest, why it failed, if it did, and the bytes that it takes."""

    index: int
    failure: Quarantined | None
    bytes: int = 0


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
                if name in self.arrays or name in self._learnt or len(failed) > patience:
                    break
                if index in failed or not valid[index].as_py():
                    continue
                before = records.sample(index)
                try:
                    after = apply_views(before, self.views)
                except DataError as error:
                    failed[index] = Filled(index, quarantined(before.id, error))
                    continue
                self._learn(name, before, after)
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
        stacks = [name for name, array in self.arrays.items() if array.depth is not None]
        size = _CHUNK_OF_STACKS if stacks else _CHUNK
        chunks = chunked([(index, row + place) for place, (index, _) in enumerate(todo)], size)
        keys = dict(todo)
        for name in stacks:
            private_folder(self.folder / name)
        with _told_when_full(self.folder):
            descriptors = [self._reserve(name, row + len(todo)) for name in self.arrays if name not in stacks]
        try:
            job = _Job(records, self.views, self.folder, self.arrays)
            for results in run_chunks(_fill, job, chunks, workers=workers):
                good = [(keys[r.index], r.row, r.changes) for r in results if r.failure is None]
                with _told_when_full(self.folder), self._database:
                    for descriptor in descriptors:
                        os.fsync(descriptor)
                    self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", good)
                yield [Filled(r.index, r.failure, self._bytes(r)) for r in results]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def open_arrays(self) -> dict[str, np.ndarray]:
        """Memory-mapped (rows, ...) arrays, read only."""
        return open_arrays(self.folder, self.arrays)

    # ----------------------------------------------------------------------------------------------------------------

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
        arrays = {
            name: {"shape": list(array.shape), "bits": array.bits, "depth": array.depth}
            for name, array in self.arrays.items()
        }
        write_json(self.folder / "spec.json", {"arrays": arrays, "learnt": sorted(self._learnt)})
        (self.folder / "spec.json").chmod(0o600)

    def _bytes(self, result: _Result) -> int:
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
        """Drop index entries whose rows are not in the files (cut off by somebody): they are made again."""
        for name, array in self.arrays.items():
            if array.depth is not None:
                self._forget_lost_stacks(name, array)
                continue
            path = self.folder / f"{name}.bin"
            rows = path.stat().st_size // array.row_bytes if path.exists() else 0
            with self._database:
                self._database.execute("DELETE FROM rows WHERE row >= ?", (rows,))

    def _forget_lost_stacks(self, name: str, array: Array) -> None:
        folder = self.folder / name
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)} if folder.is_dir() else {}
        lost = []
        for row, changes in self._database.execute("SELECT row, changes FROM rows"):
            depth = depths_of(changes).get(name)
            if depth is not None and sizes.get(_stack_file(row), 0) != stored_size(depth, array.shape, array.bits):
                lost.append((row,))
        with self._database:
            self._database.executemany("DELETE FROM rows WHERE row = ?", lost)


def _stack_file(row: int) -> str:
    return f"{row:08d}.bin"


def depths_of(changes: str) -> dict[str, int]:
    """Return how many slices each stack of a record has.

    Example:
        >>> depths_of('{"stacks": {"stack": 3}}')
        {'stack': 3}
    """
    return json.loads(changes).get("stacks", {})


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


def open_arrays(folder: Path, arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Memory-map the fields of equal rows; those of stacks are opened one by one."""
    return {n: open_array(folder / f"{n}.bin", array) for n, array in arrays.items() if array.depth is None}


def open_array(path: Path, array: Array) -> np.ndarray:
    """Memory-map the rows of a file."""
    rows = path.stat().st_size // array.row_bytes if path.exists() else 0
    if rows == 0:
        return np.zeros((0, *array.shape), stored_dtype(array.bits))
    return np.asarray(np.memmap(path, dtype=stored_dtype(array.bits), mode="r", shape=(rows, *array.shape)))


def read_row(
    folder: Path, arrays: Mapping[str, Array], data: Mapping[str, np.ndarray], row: int, changes: str, base: Sample
) -> Sample:
    """Put a stored row over a record's fields; of stacks only the places are read."""
    told = json.loads(changes)
    fields = dict(base.fields)
    for name in told["has"]:
        fields[name] = decode(data[name][row], arrays[name].bits)
    for name, depth in told.get("stacks", {}).items():
        channels, height, width = arrays[name].shape
        path = folder / name / _stack_file(row)
        fields[name] = StoredStack(path, depth, (channels, height, width), arrays[name].bits)
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
    flat = [name for name, array in job.arrays.items() if array.depth is None]
    files = {name: os.open(job.folder / f"{name}.bin", os.O_WRONLY) for name in flat}
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
    stacks: dict[str, int] = {}
    words: dict[str, str] = {}
    for name, value in after.fields.items():
        if value is before.fields.get(name):
            continue
        if isinstance(value, LazyStack | Stack):
            try:
                _write_stack(job, name, value, row)
            except DataError as error:  # slices are read now, not before
                (job.folder / name / _stack_file(row)).unlink(missing_ok=True)
                return _Result(index, row, "", quarantined(before.id, error))
            stacks[name] = len(value.position)
        elif isinstance(value, Tensor):
            with _told_when_full(job.folder):
                _write_row(job, name, value, row, files)
            has.append(name)
        elif value != before.fields.get(name):
            if not isinstance(value, str):
                raise ConfigError(f"The prefix makes {name!r}, which the cache cannot hold: make it in the suffix.")
            words[name] = value
    gone = [name for name in before.fields if name not in after.fields]
    geometry = {name: (record.box, record.spacing) for name, record in after.records.items()}
    told = {"has": has, "stacks": stacks, "words": words, "gone": gone, "geometry": geometry}
    return _Result(index, row, json.dumps(told, ensure_ascii=False), None)


def _write_stack(job: _Job, name: str, value: LazyStack | Stack, row: int) -> None:
    array = job.arrays.get(name)
    shape = value.shape if isinstance(value, LazyStack) else tuple(value.pixels.shape[1:])
    if array is None or array.depth is None or shape != array.shape:
        raise _other_shape(name, shape, array)
    with _told_when_full(job.folder):
        if not write_stack(job.folder / name / _stack_file(row), value, array.bits):
            raise _other_bits(name, array)


def _write_row(job: _Job, name: str, value: Tensor, row: int, files: Mapping[str, int]) -> None:
    array = job.arrays.get(name)
    if array is None or array.depth is not None or tuple(value.shape) != array.shape:
        raise _other_shape(name, tuple(value.shape), array)
    stored = encode(value.contiguous(), array.bits)
    if not torch.equal(decode(stored, array.bits), value):
        raise _other_bits(name, array)
    os.pwrite(files[name], np.ascontiguousarray(stored).tobytes(), row * array.row_bytes)


def _other_shape(name: str, shape: tuple[int, ...], array: Array | None) -> ConfigError:
    there = None if array is None else array.shape
    return ConfigError(
        f"The prefix makes {name!r} of shape {shape}, and {there} for other records: it must bring all to one shape."
    )


def _other_bits(name: str, array: Array) -> ConfigError:
    return ConfigError(
        f"The prefix says that {name!r} has {array.bits} bits and gives other values: a view after `read` must not "
        "change pixels, or `read` must have bits: 32."
    )


def _bits_of(name: str, views: Sequence[View]) -> Bits:
    bits: Bits = 32
    for view in views:
        if isinstance(view, Rounded) and (view.field == name or name in added_fields([view])):
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
