"""What towers are given, what is kept of encoded rows, how wide, and of how many pixels they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded, promoted
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.sample import Tokens
from medvlp.models.encoders._text import TextEncoder
from medvlp.text.tokenizers import tokenise


def size_of(kind: str, values: Tensor) -> tuple[int, ...]:
    """Pixels of a view: (H, W) of images, (S, H, W) of stacks (R, S, C, H, W) and volumes (R, C, Z, Y, X)."""
    shape = tuple(values.shape)
    return (shape[1], *shape[3:]) if kind == "stack" else shape[2:]


def constant(vectors: Tensor, *, like: Tensor) -> Encoded:
    """Return given vectors (K, D) of a bank as rows of nobody, on the device and in the type of `like`."""
    vectors = vectors.to(device=like.device, dtype=like.dtype)
    return Encoded(owner=torch.full((len(vectors),), -1, device=like.device), extra={"raw": vectors})


def widened(rows: Encoded) -> Encoded:
    """Return rows in float32 where autocast left half precision: heads after the towers run without it."""
    given = {name: getattr(rows, name) for name in ("pooled", "tokens", "layers", "attention")}
    parts: dict[str, Any] = {name: promoted(value) for name, value in given.items() if value is not None}
    return replace(rows, **parts, extra={name: promoted(value) for name, value in rows.extra.items()})


def only(rows: Encoded, keep: frozenset[str]) -> Encoded:
    """Drop what only heads inside the tower read: rows live until the step's end."""
    beside = {"mask": {"tokens", "mask"}, "position": {"tokens", "position"}}
    names = ("pooled", "tokens", "mask", "position", "layers", "attention")
    parts = {name: getattr(rows, name) for name in names if keep & beside.get(name, {name})}
    extra = {name: value for name, value in rows.extra.items() if name in keep}
    return Encoded(owner=rows.owner, grid=rows.grid, extra=extra, blank=rows.blank, **parts)


def tokens_of(texts: Sequence[str], made: Mapping[str, Tokens], tower: Encoder, view: str) -> Tokens:
    """Return the ids that a tower takes for texts: those that came with them, or made now by its own tokenizer."""
    if not isinstance(tower, TextEncoder):
        raise ConfigError(
            f"The view {view!r} holds words, and its tower {type(tower).__name__} has no tokenizer: derive a tower of "
            f"texts from TextEncoder."
        )
    there = made.get(tower.words.identity)
    return tokenise(tower.words, texts) if there is None else there
