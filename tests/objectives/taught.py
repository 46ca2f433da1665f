"""A step with a teacher: unit rows of images and texts by student and teachers, in float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.state.frozen import Frozen


class Times(nn.Module):
    """A logit scale that is exact."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, scores: Tensor) -> Tensor:
        return self.factor * scores


class Scaled(nn.Module):
    """As much of a model as a teacher's scale needs."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = Times(scale)


def teacher(scale: float) -> Frozen:
    state = Frozen()
    state._keep(Scaled(scale))  # type: ignore[arg-type]
    return state


def context(
    rows: Mapping[str, Tensor],
    *,
    scale: float = 10.0,
    teachers: Mapping[str, float] = {},
    fields: Mapping[str, object] = {},
    seed: int = 0,
    samples_seen: int = 0,
) -> Context:
    """Rows by key, one a sample; the texts differ unless `fields` say otherwise."""
    count = len(next(iter(rows.values())))
    parts = {parse_key(key): Part(values, torch.arange(count)) for key, values in rows.items()}
    batch = Batch.of({"text": [f"report {i}" for i in range(count)], **fields})  # type: ignore[dict-item]
    states = {name: teacher(value) for name, value in teachers.items()}
    return Context(parts=parts, batch=batch, scale=Times(scale), states=states, seed=seed, samples_seen=samples_seen)


def clip_loss(image: Tensor, text: Tensor, scale: float) -> Tensor:
    """The paper's loss: mean of both directions' cross entropy against the diagonal."""
    target = torch.arange(len(image))
    logits = scale * image @ text.T
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
