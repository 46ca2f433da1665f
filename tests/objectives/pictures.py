"""Synthetic pictures with drawn shapes: discs and bars that a small network can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medvlp.core.keys import Plan
from medvlp.core.protocols import Objective
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Column
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.training.precision import Precision
from medvlp.training.task import Task, make_plan

VISION: dict[str, Any] = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "norm": "group"}
VISION |= {"options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
MODEL: dict[str, Any] = {"name": "vision", "vision": VISION}
FLOAT32 = Precision("cpu", torch.float32, "test")


def discs(count: int, size: int = 32, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 1, H, W) with a bright disc at the left and a dark bar at the right, and the masks of both."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    disc, bar = torch.zeros(count, size, size, dtype=torch.bool), torch.zeros(count, size, size, dtype=torch.bool)
    for i in range(count):
        y, x, r, at = (torch.rand(4, generator=draw) * 0.2 + torch.tensor([0.4, 0.2, 0.12, 0.6])) * size
        disc[i] = (rows - y) ** 2 + (columns - x) ** 2 < (r * 0.8) ** 2
        bar[i] = (columns - at).abs() < size * 0.1
        bar[i] &= ~disc[i]
    pixels = 0.5 + 0.35 * disc - 0.35 * bar + 0.05 * torch.randn(count, size, size, generator=draw)
    return pixels[:, None].clamp(0, 1), disc, bar


def batch_of(columns: dict[str, Column], size: int) -> Batch:
    return Batch(tuple(f"s{i}" for i in range(size)), torch.arange(size) + 40, columns)


def make_task(
    objectives: Sequence[dict[str, Any]],
    *,
    model: dict[str, Any] = MODEL,
    chunks: int = 1,
    banks: dict[str, Bank] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Build a model and objectives as training does."""
    built = build_model(model, tokenizer=None, banks=banks, seed=3).to(dtype)
    assert isinstance(built, TowerModel)
    made: dict[str, Objective] = {str(s["name"]): build("objectives", s, where="test") for s in objectives}
    plan: Plan = make_plan(made, {})
    built.mount({name: head for each in made.values() for name, head in each.heads().items()}, plan)
    return Task(model=built, objectives=made, states={}, seed=5, chunks=chunks, precision=FLOAT32)


def fit(task: Task, batch: Batch, *, steps: int, rate: float) -> None:
    """Train on one batch."""
    optimiser = torch.optim.AdamW(task.parameters(), lr=rate, weight_decay=0.0)
    weights = dict.fromkeys(task.objectives, 1.0)
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        task.backward(batch, weights, samples_seen=step * batch.size)
        optimiser.step()
