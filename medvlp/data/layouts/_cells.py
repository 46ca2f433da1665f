"""Boxes and masks in the cells of a text table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from medvlp.core.errors import DataError

__all__ = ["box_cells", "mask_cells", "pairs_to_runs"]


def box_cells(name: str, cells: Sequence[str]) -> list[object]:
    """Read cells such as ``[[10, 20, 50, 60]]``; ``[]`` says that there is none, a blank that nobody knows.

    Raises:
        DataError: if a cell is no list.

    Example:
        >>> box_cells("boxes.mass", ["[[1, 2, 3, 4]]", "[]", ""])
        [[[1, 2, 3, 4]], [], None]
    """
    return [_list(name, cell) if cell else None for cell in cells]


def mask_cells(name: str, cells: Sequence[str], shape: tuple[int, int] | None) -> list[object]:
    """Read cells of a mask column: paths, ``[height, width, runs ...]`` or, with `shape`, pairs "start length".

    Args:
        name: of the column.
        cells: values of the table.
        shape: (height, width) of the pictures of pairs.

    Raises:
        DataError: if a cell is not what the others are.

    Example:
        >>> mask_cells("mask.f", ["m/a.png", ""], None), mask_cells("mask.f", ["2 3", "-1"], (2, 3))
        (['m/a.png', None], [[2, 3, 1, 3, 2], [2, 3, 6]])
    """
    if shape is not None:
        return [_pairs(name, cell, shape) if cell else None for cell in cells]
    if any(cell.startswith("[") for cell in cells):
        return [_list(name, cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def pairs_to_runs(text: str, shape: tuple[int, int]) -> list[int]:
    """Return the run lengths of pairs "start length", counted from 1 down the columns; "-1" is an empty mask.

    Raises:
        ValueError: if they are no pairs, overlap, or leave the picture.

    Example:
        >>> pairs_to_runs("2 3", (2, 3)), pairs_to_runs("5 2 1 1", (2, 3))
        ([2, 3, 1, 3, 2], [2, 3, 0, 1, 3, 2])
    """
    numbers = [] if text.strip() == "-1" else [int(number) for number in text.split()]
    spans = sorted((start - 1, start - 1 + length) for start, length in zip(numbers[::2], numbers[1::2], strict=True))
    edges = [0, *(edge for span in spans for edge in span), shape[0] * shape[1]]
    runs = [after - before for before, after in pairwise(edges)]
    if min(runs) < 0:
        raise ValueError("they overlap or leave the picture")
    return [*shape, *(runs if runs[-1] or len(runs) == 1 else runs[:-1])]


def _pairs(name: str, cell: str, shape: tuple[int, int]) -> list[int]:
    try:
        return pairs_to_runs(cell, shape)
    except ValueError as error:
        raise DataError(
            f"The column {name!r} holds {cell[:40]!r}, which is no pairs of start and length within {shape} ({error}): "
            "mend it, or change run_lengths."
        ) from None


def _list(name: str, cell: str) -> list[object]:
    try:
        found = json.loads(cell)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise DataError(f"The column {name!r} holds {cell[:40]!r}, which is no list: write it as [..., ...].")
    return found
