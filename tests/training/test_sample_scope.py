"""How often an objective that looks at each sample alone is evaluated."""

from __future__ import annotations

import torch

from medvlp.core import Context
from medvlp.core.term import Terms
from medvlp.objectives.caption import Caption
from medvlp.training.task import Task, make_plan
from tests.models.words import DUAL, dual
from tests.training.world import FLOAT32, whole_batch


class Counted(Caption):
    """The captioner, with its calls on a list: whether each had a graph."""

    def __init__(self) -> None:
        super().__init__(width=16, layers=1, heads=2)
        self.calls: list[bool] = []

    def forward(self, ctx: Context) -> Terms:
        self.calls.append(torch.is_grad_enabled())
        return super().forward(ctx)


def calls(chunks: int) -> tuple[list[bool], int]:
    """Calls of the objective, and forward passes of the image tower, of one step."""
    objective, model = Counted(), dual(DUAL)
    forwards: list[int] = []
    parts = {"caption": objective}
    model.mount(objective.heads(), make_plan(parts, {}))
    model.towers["image"].register_forward_hook(lambda *_: forwards.append(1))
    task = Task(model=model, objectives=parts, states={}, seed=0, chunks=chunks, precision=FLOAT32)
    task.backward(whole_batch(), {"caption": 1.0}, samples_seen=0)
    return objective.calls, len(forwards)


def test_one_chunk_is_evaluated_once() -> None:
    assert calls(1) == ([True], 1)


def test_several_chunks_are_counted_before_the_first_goes_backward() -> None:
    """On the rows that the first pass kept: the tower runs twice a chunk, not three times."""
    assert calls(4) == ([False] * 4 + [True] * 4, 8)


def test_a_single_chunk_is_the_batch_itself() -> None:
    batch = whole_batch()
    ((first, only),) = batch.chunks(1)
    assert first == 0
    assert only is batch
