"""What a step will cost, worked out from small ones, is what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.core.sample import Batch
from medvlp.training.costs import Cost, measure, peak_bytes, standing_bytes
from medvlp.training.task import Task
from tests.models.words import DUAL
from tests.training.world import make_task, own_part

CPU = torch.device("cpu")


def test_a_cost_is_found_again_and_no_part_is_negative() -> None:
    sizes, cost = (4, 8, 16), Cost(3.0, 0.5, 0.25)
    found = Cost.fitted(sizes, [cost.of(n, n) for n in sizes])
    assert [found.fixed, found.each, found.pair] == pytest.approx([3.0, 0.5, 0.25])
    falling = Cost.fitted(sizes, [5.0, 4.0, 3.0])
    assert [falling.fixed, falling.each, falling.pair] == pytest.approx([4.0, 0.0, 0.0])


def test_the_peak_is_of_what_is_held_at_one_time() -> None:
    first = torch.zeros(100)

    def work() -> None:
        held = first + 1  # 400 bytes
        seen = held.view(10, 10)  # none
        seen.add_(1)  # none
        second = seen * 2  # 400
        del held, seen
        second = second + 1  # 400 beside the former; what was before is gone
        del second

    assert peak_bytes(work, CPU) == 800


def test_what_the_optimiser_remembers_stands_in_memory() -> None:
    layer = torch.nn.Linear(8, 8, bias=False)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 8)).sum().backward()
    optimiser.step()
    assert standing_bytes(layer, optimiser) == 3 * 4 * 64 + 4  # weights, two moments, the number of steps


def batch_of(count: int) -> Batch:
    draw = torch.Generator().manual_seed(count)
    words = [f"finding {i} of this patient" for i in range(count)]
    return Batch.of({"image": torch.rand(count, 1, 32, 32, generator=draw), "text": words})


def task_of() -> Task:
    return make_task(DUAL, [{"name": "clip"}], ["*"])[0]


def step(task: Task, count: int) -> None:
    task.zero_grad(set_to_none=True)
    task.backward(own_part(batch_of(count)), dict.fromkeys(task.objectives, 1.0), samples_seen=0)


def peak_of(count: int) -> int:
    """Bytes of a step of this process."""
    task = task_of()
    step(task, count)
    return peak_bytes(lambda: step(task, count), CPU)


@pytest.mark.pool
def test_memory_is_known_to_a_tenth_for_larger_batches_and_for_two_processes(pool: Any) -> None:
    task = task_of()
    cost = measure(lambda count: step(task, count), (8, 16, 32), device=CPU, repeats=1).peak
    assert peak_of(128) == pytest.approx(cost.of(128, 128), rel=0.1)
    for found in pool.run(2, peak_of, 128):
        assert found == pytest.approx(cost.of(64, 128), rel=0.1)
