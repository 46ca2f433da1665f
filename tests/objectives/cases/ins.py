"""Bags of three samples with the label of any of them; and bags of a sample's own rows."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs
from tests.objectives.cases._noisy import LABELS, PHASES, states
from tests.training.methods import images


def studies(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    return {**pairs(indices, dtype), "id.study": Column(tuple(f"b{i // 3}" for i in indices.tolist()), rows)}


def tiles(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Two looks at each sample are the rows of its image."""
    both = torch.stack([images(indices, dtype, look=look) for look in (0, 1)], dim=1).flatten(0, 1)
    return {**pairs(indices, dtype), "image.tile": Column(both, torch.arange(len(indices)).repeat_interleave(2))}


BESIDE = tuple(f"label.{name}" for name in LABELS)
FOLLOW = {"sure": "absent", "follow": {"start": 0.95, "end": 0.8, "until": 24}}
SPEC = {"name": "ins", "labels": LABELS, "hidden": 8, "width": 6, "alike_from": 8}


def of(view: str, **options: object):
    found = {k: dict(v) for k, v in states("ins", beside=(f"{view}/findings", *BESIDE), **FOLLOW).items()}
    found["queue"]["reads"] = [f"ema:{view}/ins"]
    found["class_prototypes"] |= {"reads": f"{view}/ins", "predictions": f"{view}/findings"}
    return {"states": found, **options}


CASES = {
    "study": method(SPEC, columns=studies, **of("image", phases=PHASES)),
    "tiles": method({**SPEC, "view": "image.tile", "bag": "sample"}, columns=tiles, **of("image.tile")),
}
