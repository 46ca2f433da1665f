"""FSDP2: what processes hold in parts trains as what one process holds whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.training.recompute import recomputable
from medvlp.training.sharded import Twin
from tests.training.world import CASES, make_task, own_part, whole_batch, worst


def step(case: str, chunks: int, *, recompute: bool = False) -> dict[str, Tensor]:
    """Gradients of a second step, whole, in float64."""
    task, root = make_task(*CASES[case], chunks=chunks, dtype=torch.float64)
    if collectives.world_size() > 1:
        task.model = root["model"] = Twin(task.model).trained
    task._blocks = recomputable(task.model) if recompute else []
    weights = {name: 0.3 + i for i, name in enumerate(task.objectives)}
    batch = own_part(whole_batch(torch.float64))
    task.backward(batch, weights, samples_seen=0)
    root.zero_grad(set_to_none=True)
    task.backward(batch, weights, samples_seen=0)
    return {name: collectives.whole(p.grad) for name, p in root.named_parameters() if p.grad is not None}


@pytest.mark.pool
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("world", "chunks"), [(2, 1), (4, 1), (2, 2)])
def test_gradients_are_those_of_one_process(pool: Any, case: str, world: int, chunks: int) -> None:
    for got in pool.run(world, step, case, chunks):
        assert not worst(step(case, 1), got, relative=1e-9, absolute=1e-11)
