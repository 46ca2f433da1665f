"""Samples -> `Batch`, by the kinds of `medvlp.core.fields`: what is missing is no row, NaN or empty, never zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Batch, Column, ImageRecord, Sample
from medvlp.data.marks import Drawn, seen
from medvlp.data.stacks import stack_of
from medvlp.text.tokenizers import Tokenizer, tokenise


def collate(
    samples: Sequence[Sample],
    positions: Tensor,
    *,
    fields: Sequence[str] = (),
    words: Mapping[str, Sequence[Tokenizer]] = {},
    marks: Sequence[str] = (),
) -> Batch:
    """Collate samples into a batch.

    ``rows`` kinds give a row for each value, with its owner (none where a sample lacks the field); ``stack`` kinds one
    row a sample, NaN or empty where missing; ``pad`` kinds are padded to the longest with a mask. All slices are read
    of a stack of which nobody chose some (`sample_slices`).

    Boxes are joined end to end, ``known`` says of which samples they are known; one that has none is known to have
    none. A sample without a row of a mask is one whose mask is not known. Masks of stacks are padded as they are.

    Args:
        positions: (B,) int64, places in the run's stream.
        fields: names of labels, numbers and ids that the batch must have even if all of its samples lack them.
        words: field of texts -> tokenizers whose ids the column also has.
        marks: names of the boxes and masks of the manifest that are read; others are left out.

    Example:
        >>> batch = collate([Sample("a", {"text": "x", "label.f": 1.0}), Sample("b", {})], torch.arange(2))
        >>> batch["text"].owner.tolist(), batch["label.f"].values.tolist()
        ([0], [1.0, nan])
    """
    names = sorted({name for sample in samples for name in sample.fields} | set(fields))
    columns = {}
    for name in names:
        if name.partition(".")[0] in ("boxes", "mask"):
            column = _marks(name, samples, read=name in marks)
        else:
            column = _column(name, samples)
        if column is not None:
            columns[name] = column
    for name in words.keys() & columns.keys():
        column = columns[name]
        if not isinstance(column.values, Tensor):
            made = {each.identity: tokenise(each, column.values) for each in words[name]}
            columns[name] = replace(column, tokens=made)
    records = {name: rows for name in columns if (rows := _records(name, samples, len(columns[name].owner)))}
    return Batch(tuple(sample.id for sample in samples), positions, columns, records)


def _records(name: str, samples: Sequence[Sample], rows: int) -> tuple[ImageRecord, ...]:
    """How the rows of a field were made; nothing where that is not known of each."""
    found: list[ImageRecord] = []
    for sample in samples:
        record = sample.records.get(name)
        if record is not None and name in sample.fields:
            found.extend(record if isinstance(record, tuple) else (record,))
    return tuple(found) if len(found) == rows else ()


def _rows_of(values: Sequence[object]) -> tuple[list[Any], Tensor, Tensor]:
    """The rows of samples' values, a tuple being several, with the sample of each and its place among its own."""
    found = [
        (row, index, place)
        for index, value in enumerate(values)
        for place, row in enumerate(value if isinstance(value, tuple) else () if value is None else (value,))
    ]
    owner, place = (torch.tensor([each[at] for each in found], dtype=torch.int64) for at in (1, 2))
    return [row for row, _, _ in found], owner, place


def _marks(name: str, samples: Sequence[Sample], *, read: bool) -> Column | None:
    values = [None if isinstance(s.fields.get(name), Drawn) and not read else seen(s, name) for s in samples]
    rows, owner, place = _rows_of(values)
    if not rows:
        return None
    if name.startswith("mask"):
        if rows[0].dim() == 3:
            return _padded(name, rows, owner)
        _refuse_unlike(name, rows, 0)
        return Column(torch.stack(rows), owner)
    _refuse_unlike(name, rows, 1)
    known = torch.zeros(len(samples), dtype=torch.bool)
    known[owner] = True
    count = torch.tensor([len(row) for row in rows])
    return Column(torch.cat(rows), owner.repeat_interleave(count), known=known, place=place.repeat_interleave(count))


def _column(name: str, samples: Sequence[Sample]) -> Column | None:
    kind = parse_field(name).spec
    if kind.collate == "stack":
        owner = torch.arange(len(samples))
        values = [sample.fields.get(name) for sample in samples]
        if kind.dtype == "str":
            return Column(tuple("" if value is None else str(value) for value in values), owner)
        return Column(torch.tensor([float("nan") if v is None else v for v in values], dtype=torch.float32), owner)
    rows, owner, _ = _rows_of([sample.fields.get(name) for sample in samples])
    if not rows:
        return None
    if kind.dtype == "str":
        return Column(tuple(str(row) for row in rows), owner)
    stacks = [stack for row in rows if (stack := stack_of(row)) is not None]
    if len(stacks) == len(rows):
        column = _padded(name, [stack.pixels for stack in stacks], owner)
        return replace(column, position=pad_sequence([stack.position for stack in stacks], batch_first=True))
    tensors = [row for row in rows if isinstance(row, Tensor)]
    if len(tensors) != len(rows):
        view = {"volume": "read_volume", "stack": "read_stack"}.get(kind.name, "read")
        raise DataError(f"The field {name!r} holds a path, not pixels: put the view `{view}` first in data.prefix.")
    if kind.name == "graph":  # its value is itself a list of rows
        return Column(torch.cat(tensors), owner.repeat_interleave(torch.tensor([len(t) for t in tensors])))
    if kind.collate == "pad":
        return _padded(name, tensors, owner)
    _refuse_unlike(name, tensors, 0)
    return Column(torch.stack(tensors), owner)


def _padded(name: str, tensors: list[Tensor], owner: Tensor) -> Column:
    _refuse_unlike(name, tensors, 1)
    longest = max(len(t) for t in tensors)
    values = tensors[0].new_zeros((len(tensors), longest, *tensors[0].shape[1:]))
    mask = torch.zeros((len(tensors), longest), dtype=torch.bool)
    for row, tensor in enumerate(tensors):
        values[row, : len(tensor)] = tensor
        mask[row, : len(tensor)] = True
    return Column(values, owner, mask)


def _refuse_unlike(name: str, tensors: list[Tensor], first: int) -> None:
    shapes = sorted({tuple(t.shape[first:]) for t in tensors})
    if len(shapes) > 1:
        raise DataError(
            f"The field {name!r} has values of different shapes in one batch ({shapes[0]} and {shapes[1]}): "
            "let a view bring them to one size."
        )
    odd = [t.dtype for t in tensors if t.dtype != torch.float32]
    if odd and parse_field(name).kind in ("image", "stack"):
        raise DataError(f"The field {name!r} holds {odd[0]}: let the view that makes it give float32 in [0, 1].")
