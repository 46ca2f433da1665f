"""DINO: a teacher whose horizon is ramped and whose scores are centred."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Column, Context, HeadSpec, Key, Objective, Term
from medvlp.core.keys import Plan, keys
from medvlp.training.optimisers import OptimiserOptions, make_optimiser, set_rate
from medvlp.training.phases import set_trainable
from tests.training.methods import BATCH, Method, batch_of, check_resume, check_same, images, make_setup, train

VIEWS = ("image", "image.second")
STUDENT, TEACHER = 0.1, 0.04
START, UNTIL, CENTRE = 200.0, 48, 76.0


class Dino(Objective):
    """H(P_t(a), P_s(b)) over both orders of two views, P_t = softmax((g_t - c) / tau_t) (Caron et al. 2021, eq. 2)."""

    def needs(self) -> frozenset[Key]:
        return keys("state:ema", *(f"{who}{view}/dino" for who in ("", "ema:") for view in VIEWS))

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"dino": HeadSpec("projection", {"hidden": 12, "layers": 3, "width": 6})}

    def forward(self, ctx: Context) -> dict[str, Term]:
        centre: Tensor = ctx.state["ema"].centre("dino")
        orders = [VIEWS, VIEWS[::-1]]
        rows = [
            -(
                ((ctx[f"ema:{a}/dino"] - centre.to(ctx["image/dino"])) / TEACHER).softmax(dim=1)
                * (ctx[f"{b}/dino"] / STUDENT).log_softmax(dim=1)
            ).sum(dim=1)
            for a, b in orders
        ]
        return {"dino": Term.of(torch.cat(rows))}


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    return {view: Column(images(indices, dtype, look=look), rows) for look, view in enumerate(VIEWS)}


RAMP = {"start": START, "end": math.inf, "until": UNTIL, "shape": "cosine"}
METHOD = Method(
    columns=columns,
    objectives=lambda: [{"dino": Dino()}],
    phases=[{"until": 64}],
    states={
        "ema": {
            "name": "ema",
            "horizon": RAMP,
            "centre": [f"{view}/dino" for view in VIEWS],
            "centre_horizon": CENTRE,
        }
    },
)


def run_dino(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


def test_it_is_the_papers_algorithm(tmp_path: Path) -> None:
    """Algorithm 1 by hand: two networks, one loss, lambda and the centre, on plain modules."""
    setup = make_setup(METHOD, tmp_path / "unused")
    student, teacher = copy.deepcopy(setup.model), copy.deepcopy(setup.model)
    set_trainable(student, ["*"], where="test")
    teacher.eval()
    options = OptimiserOptions(rate=3e-3, warmup=16)
    optimiser = make_optimiser(student, options)
    plan, centre = Plan.of(keys(*(f"{view}/dino" for view in VIEWS))), torch.zeros(6, dtype=torch.float64)
    for seen in range(0, 64, BATCH):
        batch = batch_of(METHOD, torch.arange(seen, seen + BATCH), torch.float64)
        s1, s2 = (student(batch, plan)[view].extra["dino"] for view in VIEWS)
        with torch.no_grad():
            t1, t2 = (teacher(batch, plan)[view].extra["dino"] for view in VIEWS)
        loss = torch.zeros((), dtype=torch.float64)
        for t, s in ((t1, s2), (t2, s1)):
            for i in range(BATCH):
                p = torch.exp((t[i] - centre) / TEACHER)
                q = torch.exp(s[i] / STUDENT)
                loss = loss - (p / p.sum() * (q / q.sum()).log()).sum() / (2 * BATCH)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in student.parameters() if p.grad is not None], options.clip)
        set_rate(optimiser, options, samples=seen, horizon=64)
        optimiser.step()
        # Half a cosine from 1 / START to 0, integrated over the step in a thousand pieces.
        middles = [min((seen + BATCH * (j + 0.5) / 1000) / UNTIL, 1.0) for j in range(1000)]
        gone = sum((1 + math.cos(math.pi * x)) / 2 / START for x in middles) * BATCH / 1000
        with torch.no_grad():
            for own, new in zip(teacher.parameters(), student.parameters(), strict=True):
                own.mul_(math.exp(-gone)).add_(new, alpha=1 - math.exp(-gone))
            e = math.exp(-BATCH / CENTRE)
            centre = e * centre + (1 - e) * torch.cat([t1, t2]).mean(dim=0)
    got = run_dino(str(tmp_path / "run"))
    torch.testing.assert_close(got["states"]["ema|centre|dino"], centre, rtol=1e-6, atol=1e-9)
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(got["weights"][f"model.{name}"], parameter.detach(), rtol=1e-6, atol=1e-8)
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(got["states"][f"ema|model.{name}"], parameter.detach(), rtol=1e-6, atol=1e-8)
    assert got["states"]["ema|centre|dino"].abs().min() > 1e-3


def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(*(run_dino(str(tmp_path / str(chunks)), chunks) for chunks in (1, 4)))


@pytest.mark.pool
def test_one_process_is_two(pool: Any, tmp_path: Path) -> None:
    expected = run_dino(str(tmp_path / "one"))
    first, second = pool.run(2, run_dino, str(tmp_path / "two"), 2)
    check_same(expected, first)
    assert all(torch.equal(tensor, second["states"][name]) for name, tensor in first["states"].items())


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [8, 40])
