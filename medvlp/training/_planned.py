"""Planned batch fields that this process's samples lack: absent, but not unknown to the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medvlp.core import collectives
from medvlp.core.fields import Kind, parse_field
from medvlp.core.sample import Batch, Column

_AXES = {"D": 0, "C": 0, "S": 0, "Z": 0, "Y": 0, "X": 0, "H": 0, "W": 0}  # sizes that only data know


def with_planned(batch: Batch, names: Sequence[str]) -> Batch:
    """Return the batch with every planned field, so that what reads or gathers one needs not ask whether it is there.

    A field of one value a sample is missing in each (NaN, or the empty word); any other has no row. So that rows can be
    gathered, those of a tensor have the trailing shape that they have on the other processes; where no process has one,
    sizes that the kind does not fix are 0. All processes must call it with the same names.

    Args:
        batch: this process's samples.
        names: batch fields, in an order that all processes share.
    """
    kinds = {name: parse_field(name).spec for name in names}
    shapes = _shapes(batch, [name for name, kind in kinds.items() if _is_open(kind)])
    absent = {name: kind for name, kind in kinds.items() if name not in batch}
    return batch.with_columns({n: _missing(kind, shapes.get(n), batch) for n, kind in absent.items()})


def _is_open(kind: Kind) -> bool:
    """Whether the kind leaves a size of its rows open, as a vector's width is."""
    return kind.collate != "stack" and (" or " in kind.shape or any(axis in _AXES for axis in _axes(kind)))


def _shapes(batch: Batch, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the trailing shapes of tensors over all processes, of those that a process has."""
    if not names or collectives.world_size() == 1:
        return {}
    columns = [batch.columns[name].values if name in batch else None for name in names]
    own = [tuple(values.shape[1:]) if isinstance(values, torch.Tensor) else None for values in columns]
    found: dict[str, tuple[int, ...]] = {}
    for of_process in collectives.gather_objects(own):
        found = {n: tuple(shape) for n, shape in zip(names, of_process, strict=True) if shape is not None} | found
    return found


def _missing(kind: Kind, shape: tuple[int, ...] | None, batch: Batch) -> Column:
    device = batch.device
    if kind.collate == "stack":
        every = torch.arange(batch.size, device=device)
        words = ("",) * batch.size
        return Column(words if kind.dtype == "str" else torch.full((batch.size,), torch.nan, device=device), every)
    none = torch.arange(0, device=device)
    if kind.dtype == "str":
        return Column((), none)
    sizes = _sizes_of(kind) if shape is None else shape
    values = torch.zeros(0, *sizes, dtype=getattr(torch, kind.dtype), device=device)
    if kind.name == "boxes":
        return Column(values, none, known=torch.zeros(batch.size, dtype=torch.bool, device=device), place=none)
    if kind.collate != "pad":
        return Column(values, none)
    mask = torch.zeros(0, sizes[0], dtype=torch.bool, device=device)
    return Column(values, none, mask, torch.zeros(0, sizes[0], 3, device=device))


def _sizes_of(kind: Kind) -> tuple[int, ...]:
    """Return the trailing shape that a kind fixes, of several the first: ``(N, 4)`` of boxes, N rows, is (4,)."""
    return tuple(_AXES[axis] if axis in _AXES else int(axis) for axis in _axes(kind) if axis not in ("N", "E"))


def _axes(kind: Kind) -> list[str]:
    first = kind.shape.partition(" or ")[0]
    return [axis.strip() for axis in first.strip("()").split(",") if axis.strip()]
