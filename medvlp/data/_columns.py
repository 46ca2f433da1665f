"""What the values of a manifest column may be, decided by the column's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.fields import KINDS

pc: Any = pyarrow.compute  # its functions are made when it is imported: type checkers do not see them

# Kinds whose column holds a path that a view of the prefix reads; of a stack, or the list of its files.
PATH_KINDS: tuple[str, ...] = ("image", "stack", "volume")
_WORDS = ("split", "deidentified")
# Attributes of a finding, ``side.effusion``: what a layout knows of it beside its label.
FACTS: tuple[str, ...] = ("side", "lobe", "severity", "size", "sentence")
_LISTS = {
    "boxes": "lists of x0, y0, x1, y1, of a volume x0, y0, z0, x1, y1, z1", "vector": "lists of numbers",
    "mask": "paths, or height, width and runs", "stack": "paths, or lists of them",
}  # fmt: skip
_SIDES = ("left", "right", "both")
_DEIDENTIFIED = ("yes", "no", "unknown")
_MOST = 1 << 31  # bytes that one array of strings holds: longer columns stay in several
_PIECE = 1 << 14  # rows


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values, and which of them stand in a manifest's rows; None: all, in their order."""

    values: pa.Array | pa.ChunkedArray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    def whole(self) -> pa.Array | pa.ChunkedArray:
        """The values of all rows."""
        return self.values if self.rows is None else take_rows(self.values, self.rows)

    def piece(self, start: int, stop: int) -> pa.Array | pa.ChunkedArray:
        """The values of some rows."""
        if self.rows is None:
            return self.values.slice(start, stop - start)
        return take_rows(self.values, self.rows[start:stop])


def take_rows(values: pa.Array | pa.ChunkedArray, rows: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """Return some rows of a column; of several chunks that are no one array Arrow itself gives not even one row."""
    if isinstance(values, pa.Array) or values.nbytes < _MOST:
        return values.take(pa.array(rows))
    starts, parts = np.cumsum([0, *map(len, values.chunks)]), []
    for some in np.split(rows, range(_PIECE, len(rows), _PIECE)):
        chunk = np.searchsorted(starts, some, side="right") - 1
        found = [values.chunk(at).take(pa.array(some[chunk == at] - starts[at])) for at in np.unique(chunk).tolist()]
        order = np.argsort(np.argsort(chunk, kind="stable"))
        parts.append(pa.concat_arrays([pa.array([], values.type), *found]).take(pa.array(order)))
    return pa.chunked_array(parts, values.type)


def characters(words: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of an array's strings, one after the other, and where each ends before the next, (N + 1,).

    Example:
        >>> text, ends = characters(pa.array(["ab", "", "c"])[1:])
        >>> text.tobytes(), ends.tolist()
        (b'c', [0, 0, 1])
    """
    if not len(words):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = words.buffers()
    ends = np.frombuffer(offsets, np.int32)[words.offset : words.offset + len(words) + 1].astype(np.int64)
    return np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]], ends - ends[0]


def normal(
    name: str, column: pa.ChunkedArray | pa.Array, ids: pa.Array | None, source: str
) -> pa.Array | pa.ChunkedArray:
    """Return a column in the type that its name asks for: strings, float32 labels and numbers, vectors, attributes."""
    try:
        return _normal(name, column, ids, source)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # whose words may be a patient's
        wanted = f"{_LISTS.get(name.partition('.')[0], 'words or numbers')}, not {column.type}"
        raise DataError(f"{source}: the column {name!r} must hold {wanted}: write them so.") from None


def _normal(
    name: str, column: pa.ChunkedArray | pa.Array, ids: pa.Array | None, source: str
) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, pa.ChunkedArray) and column.nbytes >= _MOST and is_words(column.type):
        cuts = ((chunk, start) for chunk in column.chunks for start in range(0, len(chunk), _PIECE))
        made = [normal(name, chunk.slice(start, _PIECE), None, source) for chunk, start in cuts]
        return pa.chunked_array(made)
    array = column if isinstance(column, pa.Array) else column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind, dot, _ = name.partition(".")
    if dot and kind in FACTS:
        return _fact(name, array, source)
    if dot and kind not in KINDS:
        raise DataError(f"{source}: the column {name!r} is of no known kind: {did_you_mean(kind, [*KINDS, *FACTS])}.")
    if kind in ("label", "number"):
        array = _floats(name, array, source)
        if kind == "label":
            _refuse_odd_labels(name, array, ids, source)
        return array
    if kind == "vector":
        return array.cast(pa.list_(pa.float32()))
    if kind == "stack" and _is_list(array.type):
        return array.cast(pa.list_(pa.string()))
    if kind in (*PATH_KINDS, "text", "id") or name in _WORDS:
        array = _words(array)
        return _checked(name, array, _DEIDENTIFIED, source, "yes, no or unknown") if name == "deidentified" else array
    if kind == "boxes":
        return _boxes(name, array, source)
    if kind == "mask":
        return _mask(name, array, source)
    if kind in KINDS:
        raise DataError(
            f"{source}: a column cannot hold the kind {kind!r} ({name!r}): let a view make such fields from the images."
        )
    return _attribute(array)


def plain_numbers(name: str, values: Sequence[str | None]) -> Sequence[str | float | None]:
    """Turn an attribute of a text table into numbers, if each of its values is one as it would be printed.

    Example:
        >>> plain_numbers("age", ["61", "", "7"]), plain_numbers("code", ["007", "12"])
        ([61.0, None, 7.0], ['007', '12'])
    """
    if name.partition(".")[0] in KINDS or name in _WORDS:
        return values
    found: list[float | None] = []
    for value in values:
        if not value:
            found.append(None)
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            return values
        if value not in (str(number), str(int(number)) if number.is_integer() else ""):
            return values
        found.append(number)
    return found if any(number is not None for number in found) else values


def _fact(name: str, array: pa.Array, source: str) -> pa.Array:
    if name.startswith("size."):
        return _floats(name, array, source)
    array = _words(array)
    hint = "left, right, both or leave it blank"
    return _checked(name, array, _SIDES, source, hint) if name.startswith("side.") else array


def _checked(name: str, array: pa.Array, known: Sequence[str], source: str, hint: str) -> pa.Array:
    odd = pc.filter(array, pc.invert(pc.is_in(array.fill_null(known[0]), pa.array(known))))
    if len(odd):
        raise DataError(f"{source}: {name} is {odd[0].as_py()!r}: write {hint}.")
    return array


def _boxes(name: str, array: pa.Array, source: str) -> pa.Array:
    """Lists of low and high corners, x first, in pixels or voxels; an empty list: somebody looked and found none."""
    array = array.cast(pa.list_(pa.list_(pa.float32())))
    boxes = pc.list_flatten(array)
    flat = pc.list_flatten(boxes).to_numpy(zero_copy_only=False)
    length = len(flat) // len(boxes) if len(boxes) else 4
    alike = length in (4, 6) and pc.all(pc.equal(pc.list_value_length(boxes), length)).as_py() is not False
    corners = flat.reshape(len(boxes), 2, length // 2) if alike else np.zeros((0, 2, 2))
    if not alike or not (np.isfinite(corners).all() and (corners[:, 1] > corners[:, 0]).all()):
        raise DataError(f"{source}: a box of the column {name!r} is not x0 < x1 and y0 < y1: write corners, not sizes.")
    return array


def _mask(name: str, array: pa.Array, source: str) -> pa.Array:
    """Paths of mask files, or run lengths: height, width, then runs of 0 and 1 in turn down the columns.

    The first run is of 0 and may be empty: the uncompressed form of COCO.
    """
    if _is_list(array.type):
        array = array.cast(pa.list_(pa.int64()))
        for runs in array.to_pylist():
            if runs is not None and (len(runs) < 3 or min(runs) < 0 or sum(runs[2:]) != runs[0] * runs[1]):
                raise DataError(f"{source}: the runs of the column {name!r} do not fill height x width: write them so.")
        return array
    return _words(array)


def _attribute(array: pa.Array) -> pa.Array:
    if pa.types.is_integer(array.type):
        return array.cast(pa.int64())
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), None, array).cast(pa.float64())
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "yes", "no")
    return _words(array)


def is_words(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _words(array: pa.Array) -> pa.Array:
    if pa.types.is_floating(array.type):  # integers that pandas widened because some were missing
        whole = pc.if_else(pc.is_nan(array), None, array)
        array = whole.cast(pa.int64(), safe=False) if pc.all(pc.equal(pc.floor(whole), whole)).as_py() else whole
    array = array.cast(pa.string())
    blank = pc.or_(pc.equal(pc.binary_length(array), 0), pc.utf8_is_space(array))
    return pc.if_else(blank, None, array) if pc.any(blank).as_py() else array


def _floats(name: str, array: pa.Array, source: str) -> pa.Array:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if is_words(array.type):
        array = _words(array)
    try:
        array = array.cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        for row, value in enumerate(array.to_pylist(), 1) if not pa.types.is_floating(array.type) else ():
            try:
                float(value) if isinstance(value, str) else None
            except ValueError:
                reason = f"row {row} holds {value!r}"
                break
        raise DataError(
            f"{source}: the column {name!r} must hold numbers ({reason}): leave unknown ones blank."
        ) from None
    return pc.if_else(pc.is_nan(array), None, array)


def _refuse_odd_labels(name: str, array: pa.Array, ids: pa.Array | None, source: str) -> None:
    odd = pc.fill_null(pc.invert(pc.is_in(array, pa.array([1.0, 0.0, -1.0], pa.float32()))), False)
    odd = pc.and_(odd, array.is_valid())
    if pc.any(odd).as_py():
        at = pc.index(odd, True).as_py()
        who = f" of record {ids[at].as_py()!r}" if ids is not None else ""
        raise DataError(
            f"{source}: {name}{who} is {array[at].as_py():g}: a label is 1 (present), 0 (absent), -1 (uncertain) "
            f"or blank."
        )
