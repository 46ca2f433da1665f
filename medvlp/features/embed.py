"""Embed loose values, outside any manifest: prompts, words typed into a demo, prepared pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample, Stack
from medvlp.core.table import concatenate_rows
from medvlp.data.collate import collate
from medvlp.models.scale import LogitScale

_Value = TypeVar("_Value")


def embed(model: Model, view: str, values: Sequence[Tensor | Stack] | Sequence[str], *, batch: int = 64) -> np.ndarray:
    """Return (N, D) float32 unit embeddings; see `embed_parts`."""
    return embed_parts(model, view, values, ("embedding",), batch=batch)["embedding"]


def embed_parts(
    model: Model, view: str, values: Iterable[Tensor | Stack] | Iterable[str], parts: Sequence[str], *, batch: int = 64
) -> dict[str, np.ndarray]:
    """Return parts of what a model makes of values: part -> (N, ...), token axes padded to the longest.

    Args:
        model: on its device; runs in evaluation mode, its mode is put back afterwards.
        view: ``"image"`` for (C, H, W) tensors, ``"stack"`` for stacks, ``"text"`` for strings.
        values: at least one; read group by group.
        parts: ``embedding``, ``mask``, names of heads.
        batch: how many are encoded at a time.

    Raises:
        UserError: for no values, or a text that is no string.
        ConfigError: for a part that the model does not make.
    """
    plan = Plan.of(keys(*(f"{view}/{part}" for part in parts)))
    model.check(plan)
    device = next(model.parameters()).device
    rows: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    with evaluating(model), torch.inference_mode():
        for group in in_groups(values, batch):
            odd = [each for each in group if view == "text" and not isinstance(each, str)]
            if odd:
                raise UserError(f"A text to embed is {odd[0]!r}, and no string: leave it out, or write it in words.")
            samples = [Sample(str(i), {view: value}) for i, value in enumerate(group)]
            encoded = model.finish(model(collate(samples, torch.arange(len(samples))).to(device), plan), plan)
            for part in parts:
                value = encoded[view].part(part)
                rows[part].append((value.float() if value.is_floating_point() else value).cpu().numpy())
    if not all(rows.values()):
        raise UserError(f"There is no {view} to embed: give at least one.")
    return {part: concatenate_rows(found) for part, found in rows.items()}


def in_groups(values: Iterable[_Value], size: int) -> Iterator[list[_Value]]:
    """Yield lists of `size` values, the last one may be shorter."""
    source = iter(values)
    while group := list(islice(source, size)):
        yield group


def logit_scale(model: Model) -> float:
    """Return the model's logit scale; 1 for a model without one."""
    value = getattr(model.scale, "value", None)
    return float(value.detach()) if isinstance(value, Tensor) else 1.0


def logit_bias(model: Model) -> float | None:
    """Return the model's logit bias; None for a model without one."""
    bias = model.scale.bias if isinstance(model.scale, LogitScale) else None
    return float(bias.detach()) if isinstance(bias, Tensor) else None
