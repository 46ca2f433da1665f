"""Outputs of towers that learn nothing (LiT, Zhai et al. 2022), stored: each image and text is encoded once.

Rows are encoded one by one, so that what is stored does not depend on the batch that a row came in. Random views make
every image a new one, of which nothing is saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded, concatenate
from medvlp.core.protocols import Encoder, Head
from medvlp.models.architectures._recipe import Recipe
from medvlp.models.architectures._rows import only, size_of

_MOST = 1 << 17  # rows; vectors of 2,000 numbers are then 1 GB


@dataclass(frozen=True)
class Stored:
    """Rows with what the tower and the first of the recipe's heads give, and how many heads these are."""

    rows: Encoded
    heads: int


class Remembered:
    """A memory of encoded rows, by tower weights and input; models of one architecture may share it."""

    def __init__(self) -> None:
        self._rows: dict[object, Encoded] = {}
        self._weights: dict[str, tuple[object, bytes]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembered:
        return self

    def rows(
        self, values: Tensor, mask: Tensor | None, recipe: Recipe, tower: Encoder, heads: Mapping[str, Head]
    ) -> Stored | None:
        """Return the rows of a view as far as nothing on their way has weights that could differ.

        `values` (R, ...) are pixels or ids, whose tokens are real where `mask` (R, L) is True, first to last. None
        while the tower learns or is in training mode, or where somebody asks for the gradient of the pixels.
        """
        if tower.training or values.requires_grad or any(weight.requires_grad for weight in _tensors(tower)):
            return None
        own = [heads[f"{recipe.kind}/{part}"] for part in recipe.heads]
        first = recipe.heads[: len(list(takewhile(lambda head: not (head.banks or list(head.parameters())), own)))]
        later = recipe.heads[len(first) :]
        read = recipe.keep.union(*(head.reads for head in own[len(first) :]))
        parts = frozenset("raw" if part == "embedding" else part for part in read).difference(later)
        half = torch.get_autocast_dtype(values.device.type) if torch.is_autocast_enabled(values.device.type) else None
        about = (recipe.kind, recipe.tower, first, parts, half, self._weights_of(recipe.kind, tower))
        found = []
        with torch.inference_mode(False), torch.no_grad():  # stored in a validation, it must serve a step that trains
            for at, row in enumerate(values):
                shown = row if mask is None else row[: int(mask[at].sum())]
                key = (about, tuple(shown.shape), _digest([shown]))
                if (stored := self._rows.get(key)) is None:
                    stored = _encoded(shown[None].clone(), recipe, first, parts, tower, heads)
                    if len(self._rows) < _MOST:
                        self._rows[key] = stored
                found.append(stored)
        return Stored(concatenate(found, [0] * len(found)), len(first))

    def _weights_of(self, kind: str, tower: Encoder) -> bytes:
        """Return the hash of a tower's weights, made anew only where one was written to."""
        tensors = _tensors(tower)
        moved = (id(tower), *(tensor._version for tensor in tensors))
        if kind not in self._weights or self._weights[kind][0] != moved:
            self._weights[kind] = moved, _digest(tensors)
        return self._weights[kind][1]


def _tensors(tower: Encoder) -> list[Tensor]:
    """Return a tower's weights and buffers, those of a trunk that it shares, and so does not own, among them."""
    parts: tuple[Any, ...] = (tower, *vars(tower).get("_trunk", ()))
    return [tensor for part in parts for tensor in chain(part.parameters(), part.buffers())]


def _encoded(
    row: Tensor, recipe: Recipe, first: Sequence[str], parts: frozenset[str], tower: Encoder, heads: Mapping[str, Head]
) -> Encoded:
    rows = tower(row, parts=recipe.tower)
    if recipe.kind != "text":
        rows = replace(rows, size=size_of(recipe.kind, row), pixels=row)
    for part in first:
        rows = rows.give(heads[f"{recipe.kind}/{part}"](rows, part))
    return only(rows, parts)


def _digest(tensors: list[Tensor]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
