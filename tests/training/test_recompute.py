"""What is computed again gives the gradients of what is kept, and holds less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.models.build import build_model
from medvlp.models.surgery._surgery import operate
from medvlp.training.phases import set_trainable
from medvlp.training.recompute import recomputable, recomputed
from medvlp.training.task import Task
from tests.models.words import DUAL, VISION, HashWords
from tests.training.world import CASES, make_task, own_part, whole_batch

RESNET = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
RESNET |= {"options": {"channels": [8, 8, 8, 8], "stem_width": 8}}
DROPPED = {**DUAL, "text": {**DUAL["text"], "dropout": 0.3}}
MODELS: dict[str, Any] = {
    "transformers": CASES["clip"],
    "a shared trunk": CASES["single tower"],
    "batch norm": ({**DUAL, "vision": RESNET}, [{"name": "clip"}], ["*"]),
    "dropout": (DROPPED, [{"name": "clip"}], ["*"]),
    "films and volumes": CASES["films and volumes"],
    "slices with neighbours": (
        {**DUAL, "stack": {"name": "inflated", "slice": VISION}},
        *CASES["films and volumes"][1:],
    ),
}


def step(case: str, chunks: int, *, recompute: bool) -> tuple[dict[str, Tensor], int]:
    """Gradients and statistics of a step, and how many bytes its forward passes left for the backward one."""
    task, root = make_task(*MODELS[case], chunks=chunks)
    task._blocks = recomputable(task.model) if recompute else []
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.backward(own_part(whole_batch()), dict.fromkeys(task.objectives, 1.0), samples_seen=0)
    gradients = {name: p.grad for name, p in root.named_parameters() if p.grad is not None}
    return {**gradients, **{f"buffer {name}": each.clone() for name, each in root.named_buffers()}}, kept


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("chunks", [1, 2])
def test_gradients_and_statistics_are_the_same_bit_for_bit(case: str, chunks: int) -> None:
    expected, whole = step(case, chunks, recompute=False)
    found, less = step(case, chunks, recompute=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert less < whole


def test_outside_the_step_blocks_are_as_they_were() -> None:
    model = build_model(DUAL, tokenizer=HashWords(), seed=3)
    blocks = recomputable(model)
    assert blocks
    with recomputed(blocks):
        assert all("forward" in block.__dict__ for block in blocks)
    assert not any("forward" in block.__dict__ for block in blocks)


def test_patches_are_refused() -> None:
    spec = {**DUAL, "patches": [{"name": "adapter", "on": "block.after[0]"}]}
    with pytest.raises(ConfigError, match=r"training.recompute does not go with patches"):
        recomputable(build_model(spec, tokenizer=HashWords(), seed=3))


def test_gates_are_refused_while_they_are_drawn_for_the_rows_of_a_step() -> None:
    model = build_model(DUAL, tokenizer=HashWords(), seed=3)
    operate(model, [{"name": "learn_masks", "kind": "text"}])
    with pytest.raises(ConfigError, match=r"training.recompute does not go with the gates of learn_masks"):
        recomputable(model)
    set_trainable(model, ["*", "!*.log_alpha"], where="phases[0]")
    assert recomputable(model)


def test_a_task_is_told_by_its_option() -> None:
    task, _ = make_task(*CASES["clip"])
    options: dict[str, Any] = {"objectives": dict(task.objectives), "states": {}, "seed": 0, "chunks": 1}
    assert Task(model=task.model, **options, precision=task.precision, recompute=True)._blocks
    assert not Task(model=task.model, **options, precision=task.precision)._blocks
