"""Contexts of made-up tokens: regions of images and words of texts, some of them padding."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.keys import parse_key
from tests.objectives.test_clip import Times


def draw(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def real(*lengths: int) -> Tensor:
    """Masks of rows with so many real tokens each."""
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def context(
    parts: dict[str, Tensor], words: list[str], *, owner: list[int] | None = None, scale: float = 10.0
) -> Context:
    """Return the context of one process; `owner` says whose each text is, in order unless given."""
    of_text = torch.arange(len(words)) if owner is None else torch.tensor(owner)
    samples = max(len(values) for key, values in parts.items() if key.startswith("image"))
    made = {
        parse_key(key): Part(values, of_text if key.startswith("text") else torch.arange(len(values)))
        for key, values in parts.items()
    }
    batch = Batch(tuple(map(str, range(samples))), torch.arange(samples), {"text": Column(tuple(words), of_text)})
    return Context(parts=made, batch=batch, scale=Times(scale))


def total(objective: torch.nn.Module, ctx: Context) -> Tensor:
    """Return the sum of the values of all terms."""
    return torch.stack([term.value() for term in objective(ctx).values()]).sum()
