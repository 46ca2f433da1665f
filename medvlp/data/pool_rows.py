"""The rows of a pool: how what the prefix made of a record is written, checked and read again.

Fields of equal shape lie in one flat file each, a row after the other; a field of stacks, whose depth differs, has a
file a row (`medvlp.data.stacks`). What else the prefix changed (words, geometry, fields that are gone) is JSON.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.core.views import View
from medvlp.data.cache import full_disk_refused
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.quantise import Bits, decode, encode, stored_dtype
from medvlp.data.quarantine import Quarantined, quarantined
from medvlp.data.stacks import LazyStack, StoredStack, stored_size, write_stack


@dataclass(frozen=True)
class Array:
    """A field's array as stored in a pool.

    Attributes:
        shape: of one row; of one slice of a stack.
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


def stack_file(row: int) -> str:
    """Return the name of a row's file."""
    return f"{row:08d}.bin"


def depths_of(changes: str) -> dict[str, int]:
    """Return how many slices each stack of a record has."""
    return json.loads(changes).get("stacks", {})


def open_arrays(folder: Path, arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Memory-map the fields of equal rows; those of stacks are opened one by one."""
    return {n: _mapped(folder / f"{n}.bin", array) for n, array in arrays.items() if array.depth is None}


def _mapped(path: Path, array: Array) -> np.ndarray:
    rows = path.stat().st_size // array.row_bytes if path.exists() else 0
    if rows == 0:
        return np.zeros((0, *array.shape), stored_dtype(array.bits))
    return np.asarray(np.memmap(path, dtype=stored_dtype(array.bits), mode="r", shape=(rows, *array.shape)))


def read_row(
    folder: Path, arrays: Mapping[str, Array], data: Mapping[str, np.ndarray], row: int, changes: str, base: Sample
) -> Sample:
    """Put a stored row over a record's fields; of stacks only the places are read, without `data` no arrays."""
    changed = json.loads(changes)
    fields = dict(base.fields)
    for name in changed["has"] if data else ():
        fields[name] = decode(data[name][row], arrays[name].bits)
    for name, depth in changed.get("stacks", {}).items():
        channels, height, width = arrays[name].shape
        path = folder / name / stack_file(row)
        fields[name] = StoredStack(path, depth, (channels, height, width), arrays[name].bits)
    fields.update(changed["words"])
    for name in changed["gone"]:
        fields.pop(name, None)
    records = {}
    for name, geometry in changed["geometry"].items():
        facts: dict[str, Any] = {key: _tuples(value) for key, value in geometry.items()}
        records[name] = ImageRecord(seed=0, **facts)
    return Sample(base.id, fields, records)


def _geometry(record: ImageRecord) -> dict[str, object]:
    """What is kept of a record that no random view has touched."""
    facts = {name: getattr(record, name) for name in ("spacing", "matrix", "source", "slices", "world")}
    return {"box": record.box, **{name: value for name, value in facts.items() if value is not None}}


def _tuples(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(value) if isinstance(value, list) else value for value in values)


@dataclass(frozen=True)
class Job:
    """What a process must know to fill rows: records, prefix, and where they go."""

    records: Records
    views: tuple[View, ...]
    folder: Path
    arrays: Mapping[str, Array]


@dataclass(frozen=True)
class Row:
    """Outcome of one record: its index in the manifest, its row and changes, or why it failed; and its bytes."""

    index: int
    row: int = -1
    changes: str = ""
    failure: Quarantined | None = None
    bytes: int = 0


def write_rows(job: Job, chunk: Sequence[tuple[int, int]]) -> list[Row]:
    """Make and write records, given as (index in the manifest, row)."""
    flat = [name for name, array in job.arrays.items() if array.depth is None]
    files = {name: os.open(job.folder / f"{name}.bin", os.O_WRONLY) for name in flat}
    try:
        return [_write_one(job, index, row, files) for index, row in chunk]
    finally:
        for descriptor in files.values():
            os.close(descriptor)


def _write_one(job: Job, index: int, row: int, files: Mapping[str, int]) -> Row:
    before = job.records.sample(index)
    try:
        after = apply_views(before, job.views)
    except DataError as error:
        return Row(index, row, failure=quarantined(before.id, error))
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
                (job.folder / name / stack_file(row)).unlink(missing_ok=True)
                return Row(index, row, failure=quarantined(before.id, error))
            stacks[name] = len(value.position)
        elif isinstance(value, Tensor):
            with full_disk_refused(job.folder):
                _write_row(job, name, value, row, files)
            has.append(name)
        elif value != before.fields.get(name):
            if not isinstance(value, str):
                raise ConfigError(f"The prefix makes {name!r}, which the cache cannot hold: make it in the suffix.")
            words[name] = value
    gone = [name for name in before.fields if name not in after.fields]
    geometry = {name: _geometry(record) for name, record in after.records.items() if isinstance(record, ImageRecord)}
    changes = {"has": has, "stacks": stacks, "words": words, "gone": gone, "geometry": geometry}
    return Row(index, row, json.dumps(changes, ensure_ascii=False))


def _write_stack(job: Job, name: str, value: LazyStack | Stack, row: int) -> None:
    array = job.arrays.get(name)
    shape = value.shape if isinstance(value, LazyStack) else tuple(value.pixels.shape[1:])
    if array is None or array.depth is None or shape != array.shape:
        raise _other_shape(name, shape, array)
    with full_disk_refused(job.folder):
        if not write_stack(job.folder / name / stack_file(row), value, array.bits):
            raise _other_bits(name, array)


def _write_row(job: Job, name: str, value: Tensor, row: int, files: Mapping[str, int]) -> None:
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
