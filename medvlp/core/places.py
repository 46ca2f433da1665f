"""Where the pixels of a view lie in its source, and the one way in which boxes and masks go there and back.

Coordinates are continuous, pixel k reaches from k to k + 1, so that a box over a whole picture is 0, 0, W, H. A mask is
looked up at the middle of each pixel; a box becomes the box around its moved corners, cut at the edge of the view.
Along a stack of which some slices were left out, a box reaches as far as the slices that it contains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.sample import ImageRecord, Matrix

Array = NDArray[Any]  # float64: numpy's own types widen it at every step
_THINNEST = 1e-6  # of a box, in pixels: what is thinner was cut to nothing


def relative_record(step: Array, size: Sequence[int], slices: Sequence[int] | None = None) -> ImageRecord:
    """Return the record of a view of another view, as if that were its source: for what is marked on that one.

    Args:
        step: as for `moved_record`.
        size: (H, W) of the other view, (S, H, W) of a stack.
        slices: as for `moved_record`.
    """
    matrix = matrix_rows(_in_volume(step) if len(size) == 3 else step)
    box = (0.0, 0.0, float(size[-1]), float(size[-2]))
    return ImageRecord(seed=0, box=box, matrix=matrix, slices=None if slices is None else tuple(slices))


def turned_record(record: ImageRecord, turn: Array, size: Sequence[int]) -> ImageRecord:
    """Return the record of a view whose picture was turned as it was read, in pixels of the file.

    Args:
        record: in pixels of the turned picture.
        turn: (3, 3), points (x, y, 1) of the turned picture -> those of the file, by quarter turns and mirrors.
        size: (H, W) of the view, (S, H, W) of a stack.

    Example:
        >>> mirror = np.array([[-1.0, 0, 8], [0, 1, 0], [0, 0, 1]])
        >>> record = turned_record(ImageRecord(seed=0, box=(0, 0, 4, 4), source=(4, 8)), mirror, (4, 4))
        >>> record.box, record.matrix
        ((4.0, 0.0, 8.0, 4.0), ((-1.0, 0.0, 8.0), (0.0, 1.0, 0.0)))
    """
    whole = view_to_source(record, size)
    low, high = _around(torch.tensor([record.box], dtype=torch.float64), turn)
    source = record.source
    if source is not None and turn[0, 0] == 0:
        source = (*source[:-2], source[-1], source[-2])
    (x0, y0), (x1, y1) = low[0].tolist(), high[0].tolist()
    matrix = matrix_rows((_in_volume(turn) if len(whole) == 4 else turn) @ whole)
    return replace(record, box=(x0, y0, x1, y1), matrix=matrix, source=source)


def view_to_source(record: ImageRecord, size: Sequence[int]) -> Array:
    """Return the affine map from points (x, y, 1) of a view, or (x, y, z, 1) of a stack, to its source.

    Args:
        record: of the view.
        size: (H, W) of it, (S, H, W) of a stack.

    Returns:
        (3, 3), or (4, 4) where the source is a volume or stack.

    Example:
        >>> view_to_source(ImageRecord(seed=0, box=(0, 0, 20, 10)), (5, 5)).tolist()
        [[4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if record.matrix is not None:
        return _whole(record.matrix)
    x0, y0, x1, y1 = record.box
    across, down = (x1 - x0) / size[-1], (y1 - y0) / size[-2]
    plane = np.array([[-across if record.flip else across, 0, x1 if record.flip else x0], [0, down, y0], [0, 0, 1.0]])
    return _in_volume(plane) if len(size) == 3 or record.slices is not None else plane


def moved_record(
    record: ImageRecord,
    step: Array,
    before: Sequence[int],
    after: Sequence[int],
    *,
    slices: Sequence[int] | None = None,
    seed: int | None = None,
) -> ImageRecord:
    """Return the record of a view that was made of another one.

    Args:
        record: of the other one.
        step: (3, 3), points (x, y, 1) of the new view -> points of the other one; in the plane of a stack's slices.
        before: (..., H, W) of the other one.
        after: (..., H, W) of the new view.
        slices: those of the other one that are left, ascending; None: all.
        seed: of the draw; None keeps the old one.

    Example:
        >>> half = np.diag([0.5, 0.5, 1.0])  # the left upper quarter, enlarged
        >>> moved_record(ImageRecord(seed=0, box=(0, 0, 8, 8)), half, (8, 8), (8, 8)).box
        (0.0, 0.0, 4.0, 4.0)
    """
    (height, width), (rows, columns) = before[-2:], after[-2:]
    (a, b, c), (d, e, f) = step[:2].tolist()
    x0, y0, x1, y1 = record.box
    per_x, per_y = (x1 - x0) / width, (y1 - y0) / height
    long_x, long_y = math.hypot(a, d), math.hypot(b, e)
    right, down = (a * columns + b * rows) / 2 + c, (d * columns + e * rows) / 2 + f
    # In a mirrored view columns count from the right edge of the source.
    x, y = x1 - right * per_x if record.flip else x0 + right * per_x, y0 + down * per_y
    half_x, half_y = long_x * columns * per_x / 2, long_y * rows * per_y / 2
    matrix = record.matrix
    if matrix is not None or b or d or e < 0:
        whole = view_to_source(record, before)
        matrix = matrix_rows(whole @ (_in_volume(step) if len(whole) == 4 else step))
    if record.matrix is not None and matrix is not None and len(matrix) == 2:  # the other view may be a turned one
        x, y, _ = (_whole(matrix) @ (columns / 2, rows / 2, 1.0)).tolist()
    # What an earlier edge cut off stays black, unless all of this view lay within it, or all of the source did.
    reach_x, reach_y = (abs(a) * columns + abs(b) * rows) / 2, (abs(d) * columns + abs(e) * rows) / 2
    within = min(right - reach_x, down - reach_y, width - right - reach_x, height - down - reach_y) >= -_THINNEST
    seen = within or _all_seen(record, before)
    cut = () if seen else ((matrix_rows(view_to_source(record, before)), (height, width)),)
    if slices is not None:
        slices = tuple(n if record.slices is None else record.slices[n] for n in slices)
    return replace(
        record,
        seed=record.seed if seed is None else seed,
        box=(x - half_x, y - half_y, x + half_x, y + half_y),
        flip=record.flip != (a * e - b * d < 0),
        spacing=None if record.spacing is None else (record.spacing[0] * long_y, record.spacing[1] * long_x),
        matrix=matrix,
        slices=record.slices if slices is None else slices,
        cuts=(*record.cuts, *cut),
    )


def to_view(mark: Tensor, record: ImageRecord, size: Sequence[int], *, grid: Array | None = None) -> Tensor:
    """Take boxes or a mask from the source to a view.

    Args:
        mark: boxes (n, 4) or (n, 6) in pixels or voxels of the source, or a mask, bool (H, W) or (Z, Y, X).
        record: of the view.
        size: (H, W) of the view, (S, H, W) of a stack.
        grid: (4, 4), points of the source -> points of the mask, where the mask has voxels of its own.

    Returns:
        float32 boxes (m, 4), (m, 6) in a stack, without those that do not reach into the view; or bool of `size`.

    Raises:
        DataError: if a mark of a picture is asked for in a volume, or the other way round.

    Example:
        >>> record = ImageRecord(seed=0, box=(0, 0, 20, 10))
        >>> to_view(torch.tensor([[2.0, 2.0, 8.0, 4.0], [21, 1, 22, 2]]), record, (5, 5)).tolist()
        [[0.5, 1.0, 2.0, 2.0]]
    """
    matrix = view_to_source(record, size)
    if mark.dtype == torch.bool:
        axes = _middles(size, record)
        found = _looked_up(mark, matrix if grid is None else grid @ matrix, axes)
        for cut, edge in record.cuts:
            x, y = (_coordinate(row, axes) for row in (np.linalg.inv(_whole(cut)) @ matrix)[:2])
            found &= (x >= 0) & (x < edge[1]) & (y >= 0) & (y < edge[0])
        return torch.from_numpy(found)
    inverse = np.linalg.inv(matrix)
    low, high = _around(mark, inverse)
    if record.slices is not None:
        slices = np.array(record.slices, np.float64)  # how much of them lies below an edge is where it is among them
        low[:, 2], high[:, 2] = (np.clip(edge[:, 2:] - slices, 0, 1).sum(axis=1) for edge in (low, high))
    for cut, edge in record.cuts:
        first, last = _around(_frame((1,) * (len(cut) - 2) + edge), inverse @ _whole(cut))
        low[:, :2], high[:, :2] = np.maximum(low, first)[:, :2], np.minimum(high, last)[:, :2]
    low, high = _clipped(low, high, size if len(size) == len(matrix) - 1 else (1, *size))
    there = ((high - low) > _THINNEST).all(axis=1)
    return _joined(low[there, : len(size)], high[there, : len(size)])


def to_source(mark: Tensor, record: ImageRecord, size: Sequence[int]) -> Tensor:
    """Take boxes or a mask of a view to the source: the way back of `to_view`.

    Args:
        mark: boxes (n, 4), (n, 6) of a stack, in pixels of the view, or a mask, bool (H, W) or (S, H, W).
        record: of the view.
        size: (H, W) of the view, (S, H, W) of a stack.

    Returns:
        float32 boxes (n, 4), or (n, 6) in a volume, cut at the source and none left out; or bool of `record.source`,
        False where the view does not reach.

    Raises:
        DataError: if the record does not say how large the source is.

    Example:
        >>> record = ImageRecord(seed=0, box=(0, 0, 20, 10), source=(10, 20))
        >>> to_source(torch.tensor([[0.5, 1.0, 2.0, 2.0]]), record, (5, 5)).tolist()
        [[2.0, 2.0, 8.0, 4.0]]
    """
    if record.source is None:
        raise DataError("This picture does not say how large its file is: let one of the views `read...` make it.")
    matrix = view_to_source(record, size)
    in_slice = len(size) < len(matrix) - 1
    if mark.dtype == torch.bool:
        mark = mark[None] if in_slice else mark
        slices = None if record.slices is None else np.array(record.slices)
        return torch.from_numpy(_looked_up(mark, np.linalg.inv(matrix), _middles(record.source), slices=slices))
    boxes = mark.detach().cpu().double()
    if in_slice:
        thick = boxes.new_tensor([0.0, 1.0]).expand(len(boxes), 2)
        boxes = torch.cat([boxes[:, :2], thick[:, :1], boxes[:, 2:], thick[:, 1:]], dim=1)
    if record.slices is not None:
        boxes = boxes.clone()
        # Back to slices that are left: a lower edge begins in its slice, an upper one ends in its own.
        low, high, number = boxes[:, 2], boxes[:, 5], torch.tensor(record.slices, dtype=torch.float64)
        first, last = (at.clamp(0, len(number) - 1).long() for at in (low.floor(), high.ceil() - 1))
        boxes[:, 2], boxes[:, 5] = number[first] + (low - first), number[last] + (high - last)
    return _joined(*_clipped(*_around(boxes, matrix), record.source))


def record_tensor(records: Sequence[ImageRecord], size: Sequence[int]) -> Tensor:
    """Return where rows lie in their sources.

    Args:
        records: one a row.
        size: (H, W) of images, (S, H, W) of stacks padded to one depth.

    Returns:
        float32: of images (R, 2, 3), of a volume's slices (R, 3, 4), of stacks (R, S, 3, 4). Each takes (x, y, 1) of a
        row, or (x, y, z, 1) with z from 0 to 1 through a slice, to the source.

    Example:
        >>> record_tensor([ImageRecord(seed=0, box=(0, 0, 20, 10))], (5, 5)).tolist()
        [[[4.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]
    """
    rows = []
    for record in records:
        matrix = view_to_source(record, size)
        if len(matrix) == 3:
            rows.append(matrix[:-1])
            continue
        numbers = np.arange(size[0]) if record.slices is None else np.array(record.slices)
        slices = np.repeat(matrix[None, :-1], len(numbers), axis=0)
        slices[:, :, 3] += numbers[:, None] * matrix[:-1, 2]
        rows.append(slices[0] if len(size) == 2 else np.pad(slices, ((0, size[0] - len(numbers)), (0, 0), (0, 0))))
    return torch.from_numpy(np.stack(rows)).float()


def matrix_rows(matrix: Array) -> Matrix:
    """Return all rows but the last, (0, .., 0, 1), as plain numbers."""
    return tuple(tuple(float(value) for value in row) for row in matrix[:-1])


def _whole(rows: Matrix) -> Array:
    return np.array([*rows, (*(0.0 for _ in rows), 1.0)])


def _in_volume(plane: Array) -> Array:
    """(3, 3) in the plane -> (4, 4) that leaves z alone."""
    whole = np.eye(4)
    whole[np.ix_((0, 1), (0, 1, 3))] = plane[:2]
    return whole


def _frame(size: Sequence[int]) -> Tensor:
    """The box around all of (H, W) or (Z, Y, X), (1, 2 d)."""
    return torch.tensor([[0.0] * len(size) + [float(side) for side in reversed(size)]])


def _all_seen(record: ImageRecord, size: Sequence[int]) -> bool:
    """Whether the whole source lies within a view's edges."""
    if record.source is None:
        return False
    if record.matrix is None:
        x0, y0, x1, y1 = record.box
        return min(-x0, -y0, x1 - record.source[-1], y1 - record.source[-2]) >= -_THINNEST
    low, high = _around(_frame(record.source), np.linalg.inv(view_to_source(record, size)))
    edge = np.array([size[-1], size[-2]]) + _THINNEST
    return bool((low[0, :2] >= -_THINNEST).all() and (high[0, :2] <= edge).all())


def _around(boxes: Tensor, matrix: Array) -> tuple[Array, Array]:
    """Boxes (n, 2 d) -> low and high corner (n, d) of the boxes around their moved corners."""
    values, dimensions = boxes.detach().cpu().double().numpy(), len(matrix) - 1
    if values.ndim != 2 or values.shape[1] != 2 * dimensions:
        raise DataError(
            f"Boxes of shape {tuple(values.shape)} were given for a source of {dimensions} dimensions: write (n, "
            f"{2 * dimensions}), low corner first, x before y."
        )
    low, high = values[:, :dimensions], values[:, dimensions:]
    middle = (low + high) / 2 @ matrix[:-1, :-1].T + matrix[:-1, -1]
    half = (high - low) / 2 @ np.abs(matrix[:-1, :-1]).T
    return middle - half, middle + half


def _clipped(low: Array, high: Array, size: Sequence[int]) -> tuple[Array, Array]:
    edge = np.array(size[::-1], np.float64)
    return np.clip(low, 0, edge), np.clip(high, 0, edge)


def _joined(low: Array, high: Array) -> Tensor:
    return torch.from_numpy(np.concatenate([low, high], axis=1)).float()


def _middles(size: Sequence[int], record: ImageRecord | None = None) -> list[Array]:
    """Middles of the pixels along x, y and, of a stack or one of its slices, z: arrays that broadcast to `size`."""
    sides = [np.arange(side, dtype=np.float64) + 0.5 for side in size]
    if record is not None and record.slices is not None:
        numbers = np.array(record.slices, np.float64) + 0.5
        if len(size) == 2:
            return [sides[1][None, :], sides[0][:, None], numbers[:, None]]
        sides[0] = numbers
    return [side.reshape(-1, *(1,) * place) for place, side in enumerate(reversed(sides))]


def _coordinate(row: Array, axes: Sequence[Array]) -> Array:
    """One coordinate of moved points; axes that it does not depend on stay short."""
    parts = [factor * axis for factor, axis in zip(row[:-1], axes, strict=True) if factor]
    return reduce(np.add, parts, np.full((1,) * axes[0].ndim, row[-1]))


def _looked_up(mask: Tensor, matrix: Array, axes: Sequence[Array], *, slices: Array | None = None) -> NDArray[np.bool_]:
    """The mask at the moved points, False outside it; `slices`: the number of each of its slices, where it has some."""
    values = mask.detach().cpu().numpy()
    if values.ndim != len(matrix) - 1:
        raise DataError(
            f"A mask of shape {values.shape} was given for a source of {len(matrix) - 1} dimensions: write (H, W) of a "
            "picture, (Z, Y, X) of a volume."
        )
    index, inside = [], np.ones((), bool)
    for axis, row in enumerate(matrix[:-1]):
        at, side = np.floor(_coordinate(row, axes)), values.shape[-1 - axis]
        if axis == 2 and slices is not None:
            place = np.clip(np.searchsorted(slices, at), 0, side - 1)
            inside = inside & (slices[place] == at)
        else:
            inside = inside & (at >= 0) & (at < side)
            place = np.clip(at, 0, side - 1).astype(np.int64)
        index.append(place)
    found, shape = values[tuple(reversed(index))] & inside, np.broadcast_shapes(*(axis.shape for axis in axes))
    return found if found.shape == shape else np.array(np.broadcast_to(found, shape))
