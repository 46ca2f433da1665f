"""Embed loose values, outside any manifest: prompts, words typed into a demo, prepared pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample, Stack
from medvlp.data.collate import collate

__all__ = ["embed", "logit_scale"]


def embed(model: Model, view: str, values: Sequence[Tensor | Stack] | Sequence[str], *, batch: int = 64) -> np.ndarray:
    """Return (N, D) float32 unit embeddings.

    Args:
        model: on its device; runs in evaluation mode, its mode is put back afterwards.
        view: ``"image"`` for (C, H, W) tensors, ``"stack"`` for stacks, ``"text"`` for strings.
        values: at least one.
        batch: how many are encoded at a time.

    Raises:
        UserError: for no values.
    """
    if len(values) == 0:
        raise UserError(f"There is no {view} to embed: give at least one.")
    plan = Plan.of(keys(f"{view}/embedding"))
    model.check(plan)
    device = next(model.parameters()).device
    rows = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(values), batch):
            samples = [Sample(str(i), {view: value}) for i, value in enumerate(values[start : start + batch])]
            encoded = model.finish(model(collate(samples, torch.arange(len(samples))).to(device), plan), plan)
            rows.append(encoded[view].part("embedding").float().cpu().numpy())
    return np.concatenate(rows)


def logit_scale(model: Model) -> float:
    """Return the model's logit scale; 1 for a model without one."""
    value = getattr(model.scale, "value", None)
    return float(value.detach()) if isinstance(value, Tensor) else 1.0
