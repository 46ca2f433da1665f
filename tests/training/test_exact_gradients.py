"""The gradient of every parameter, scale included, does not depend on processes or chunks."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.parts import collect_parts
from medvlp.training._leaves import Cursor, leaves_of
from tests.training.world import CASES, make_task, own_part, step, whole_batch, worst

# A gradient whose true value is 0 is rounding alone: one unit roundoff of float32 at the norm of all gradients. What is
# exact beyond rounding is shown in float64.
FLOAT32 = {"relative": 1e-5, "absolute": 2.0**-24}
FLOAT64 = {"relative": 1e-10, "absolute": 1e-13}
PRECISIONS = [pytest.param(True, id="float64"), pytest.param(False, id="float32", marks=pytest.mark.slow)]


@cache
def reference(case: str, double: bool) -> dict[str, Any]:
    return step(case, 1, double)


def check(case: str, got: dict[str, Any], *, double: bool) -> None:
    expected = reference(case, double)
    tolerance = FLOAT64 if double else FLOAT32
    assert worst(expected["gradients"], got["gradients"], **tolerance) == ""
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-10 if double else 1e-5)
    assert got["terms"] == pytest.approx(expected["terms"], rel=1e-10 if double else 1e-5)
    for name, tensor in expected["buffers"].items():
        torch.testing.assert_close(got["buffers"][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_one_chunk_is_the_plain_gradient(case: str) -> None:
    """The cut at `Encoded` against one graph from pixels to loss."""
    task, root = make_task(*CASES[case], dtype=torch.float64)
    batch = whole_batch(torch.float64)
    weights = {name: 0.3 + i for i, name in enumerate(task.objectives)}
    task.backward(batch, weights, samples_seen=0)  # moves running statistics, as in `step`
    root.zero_grad(set_to_none=True)
    parts = collect_parts(_there(task.model.finish(_there(task.model(batch, task.plan)), task.plan)), task.plan.views)
    for name, plan in task.plan.teachers.items():
        parts |= collect_parts(task.states[name].encode(batch, plan), plan.views, who=name)
    total = torch.zeros((), dtype=torch.float64)
    for name, objective in task.objectives.items():
        chunk = objective.scope == "sample"
        ctx = Context(
            parts=parts, batch=batch, scale=task.model.scale, heads=task.model.heads, seed=task.seed, chunk=chunk
        )
        total = total + weights[name] * sum(term.value() for term in objective(ctx).values())
    total.backward()
    plain = {name: p.grad for name, p in root.named_parameters() if p.grad is not None}
    got = reference(case, True)
    assert got["loss"] == pytest.approx(total.item(), rel=1e-10)
    # The task may leave a zero where plain autograd leaves nothing, never nothing where there is a gradient.
    extra = got["gradients"].keys() - plain.keys()
    assert all(not got["gradients"][name].any() for name in extra)
    assert worst(plain, {n: g for n, g in got["gradients"].items() if n in plain}, **FLOAT64) == ""


def _there(encoded: dict[str, Any]) -> dict[str, Any]:
    return {v: rows if v.startswith("bank.") else rows.rows(rows.owner >= 0) for v, rows in encoded.items()}


@pytest.mark.parametrize("double", PRECISIONS)
@pytest.mark.parametrize("chunks", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_one_chunk_is_several(case: str, chunks: int, double: bool) -> None:
    check(case, step(case, chunks, double), double=double)


@pytest.mark.pool
@pytest.mark.parametrize("double", PRECISIONS)
@pytest.mark.parametrize(
    ("processes", "chunks"),
    [pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.slow), (2, 2)],
)
@pytest.mark.parametrize("case", CASES)
def test_one_process_is_several(pool: Any, case: str, processes: int, chunks: int, double: bool) -> None:
    for got in pool.run(processes, step, case, chunks, double):
        check(case, got, double=double)


@pytest.mark.parametrize("first", [0, 1])
def test_what_stands_in_for_a_view_that_a_chunk_lacks_does_not_stretch_the_others(first: int) -> None:
    """A black picture has the tower's size, crops have theirs: their tokens keep their number and their grid."""
    stand_in, crops = (torch.ones(1, 16, 3, requires_grad=True), torch.rand(2, 4, 3, requires_grad=True))
    chunks = [
        Encoded(owner=torch.tensor([-1]), tokens=stand_in, grid=(4, 4), blank=True),
        Encoded(owner=torch.tensor([0, 1]), tokens=crops, grid=(2, 2), blank=False),
    ]
    chunks = chunks[::-1] if first else chunks
    leaves = leaves_of([{"image": each} for each in chunks], [0, 2])
    rows, weight = leaves["image"].present(), torch.rand(2, 4, 3)
    assert (rows.part("tokens").shape, rows.grid) == ((2, 4, 3), (2, 2))
    (rows.part("tokens") * weight).sum().backward()
    cursor = Cursor(leaves)
    for each in chunks:
        torch.autograd.backward(*cursor.next({"image": each}))
    assert torch.equal(crops.grad, weight)
    assert not stand_in.grad.any()


def test_the_reference_has_a_gradient_wherever_something_trains() -> None:
    """No case is empty: scale, both towers, batch heads, captioner and bank all take part."""
    names = set(reference("all together", True)["gradients"])
    for part in ("model.logit_scale.", "model.towers.image.", "model.towers.text.", "model.heads.captioner."):
        assert any(name.startswith(part) for name in names), part
    for case in CASES:
        gradients = reference(case, True)["gradients"].values()
        assert sum(bool(gradient.abs().max() > 1e-9) for gradient in gradients) >= 2


def test_a_frozen_tower_has_no_gradient_and_one_outside_the_plan_none_either() -> None:
    assert not any("towers.image" in name for name in reference("frozen image tower", True)["gradients"])
    assert not any("towers.text" in name for name in reference("images only", True)["gradients"])


@pytest.mark.pool
@pytest.mark.parametrize("silent", ["clip", "caption", "distill"])
def test_an_objective_of_weight_zero_gives_the_optimiser_the_same_parameters_to_move(pool: Any, silent: str) -> None:
    """AdamW decays what has a gradient, be it zero, and skips what has none: the two must not depend on processes."""
    expected = step("all together", 1, True, silent)
    captioner = any(name.startswith("model.heads.captioner") for name in expected["gradients"])
    assert captioner == (silent != "caption")
    for got in pool.run(2, step, "all together", 1, True, silent):
        assert worst(expected["gradients"], got["gradients"], **FLOAT64) == ""


def test_the_fourth_process_has_no_text() -> None:
    assert "text" not in whole_batch().take(6, 8).columns or not len(whole_batch().take(6, 8)["text"].owner)
    assert own_part(whole_batch()).size == 8
