"""Which slice of a stack stands for it in a picture, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from medvlp.core.keys import Plan, parse_key
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample, Stack
from medvlp.data.collate import collate
from medvlp.data.stacks import middle_of


@dataclass(frozen=True)
class SliceWeights:
    """How much each slice counts in what a model makes of a stack.

    Attributes:
        weights: (S,) float32, they sum to 1; None where the model's pooler gives none.
        position: (S, 3) in mm, as the stack has them.
        shown: index of the slice with the highest weight, of the middle one (`middle_of`) where there are none.
    """

    weights: np.ndarray | None
    position: np.ndarray
    shown: int


def slice_weights(model: Model, stack: Stack) -> SliceWeights:
    """Return the weights that the model's pooler gives to the slices of one stack."""
    position, part = stack.position.numpy(), model.slice_weights
    if part is None:
        return SliceWeights(None, position, middle_of(len(position)))
    plan = Plan.of([parse_key(f"stack/{part}")])
    batch = collate([Sample("stack", {"stack": stack})], torch.arange(1))
    device = next(model.parameters()).device
    with evaluating(model), torch.inference_mode():
        rows = model.finish(model(batch.to(device), plan), plan)["stack"].part(part)[0]
    weights = rows.float().cpu().numpy()
    return SliceWeights(weights, position, int(weights.argmax()))
