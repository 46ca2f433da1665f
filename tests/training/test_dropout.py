"""Draws inside the towers: repeatable, and the same in both passes of a step."""

from __future__ import annotations

import torch

from medvlp.core.context import Context
from medvlp.core.encoded import concatenate
from medvlp.core.parts import collect_parts
from medvlp.core.randomness import seed_of
from medvlp.training.task import Task
from tests.models.words import DUAL, TEXT, VISION
from tests.training.world import gradients_of, make_task, whole_batch, worst

DROPPING = {**DUAL, "vision": {**VISION, "drop_path": 0.3}, "text": {**TEXT, "dropout": 0.3}}
OBJECTIVES = [{"name": "clip"}, {"name": "caption", "width": 16, "layers": 1, "heads": 2}]
WEIGHTS = {"clip": 1.0, "caption": 0.5}


def gradients(task: Task, root: torch.nn.Module, batch=None) -> dict[str, torch.Tensor]:
    root.zero_grad(set_to_none=True)
    batch = whole_batch(torch.float64) if batch is None else batch
    task.backward(batch, {n: WEIGHTS[n] for n in task.objectives}, samples_seen=0)
    return gradients_of(root)


def test_a_step_can_be_repeated_bit_for_bit_whatever_was_drawn_before() -> None:
    for chunks in (1, 2):
        task, root = make_task(DROPPING, OBJECTIVES, ["*"], chunks=chunks, dtype=torch.float64)
        state = torch.get_rng_state()
        first = gradients(task, root)
        assert torch.equal(torch.get_rng_state(), state)  # and nothing is left behind
        torch.rand(1000)
        again = gradients(task, root)
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_draws_belong_to_the_place_in_the_sample_stream() -> None:
    task, root = make_task(DROPPING, OBJECTIVES[:1], ["*"], dtype=torch.float64)
    batch = whole_batch(torch.float64)
    later = type(batch)(batch.ids, batch.positions + batch.size, batch.columns)
    here, there = gradients(task, root, batch), gradients(task, root, later)
    assert not torch.allclose(here["model.heads.text/raw.output.weight"], there["model.heads.text/raw.output.weight"])


def test_the_second_pass_drops_what_the_first_one_dropped() -> None:
    """Against one graph over both chunks, encoded under the same draws."""
    task, root = make_task(DROPPING, OBJECTIVES[:1], ["*"], chunks=2, dtype=torch.float64)
    got = gradients(task, root)
    root.zero_grad(set_to_none=True)
    batch = whole_batch(torch.float64)
    chunks = list(batch.chunks(2))
    encoded = []
    for _, chunk in chunks:
        torch.manual_seed(seed_of(task.seed, int(chunk.positions[0]), "device generator"))
        encoded.append(task.model(chunk, task.plan))
    whole = {v: concatenate([e[v] for e in encoded], [first for first, _ in chunks]) for v in ("image", "text")}
    whole = {view: rows.rows(rows.owner >= 0) for view, rows in whole.items()}
    ctx = Context(parts=collect_parts(whole, task.plan.views), batch=batch, scale=task.model.scale)
    sum(term.value() for term in task.objectives["clip"](ctx).values()).backward()
    assert worst(gradients_of(root), got, relative=1e-10, absolute=1e-13) == ""
