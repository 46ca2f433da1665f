"""DINO: a teacher whose horizon is ramped and whose scores are centred."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.core.keys import Plan, keys
from medvlp.objectives.dino import Dino
from medvlp.training.optimisation import OptimiserOptions, make_optimiser, set_rate
from medvlp.training.phases import set_trainable
from tests.training.methods import BATCH, Method, batch_of, images, make_setup, train

VIEWS = ("image", "image.second")
STUDENT, TEACHER, WIDTH = 0.1, 0.04, 7
START, UNTIL, CENTRE = 200.0, 48, 76.0


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    return {view: Column(images(indices, dtype, look=look), rows) for look, view in enumerate(VIEWS)}


RAMP = {"start": START, "end": math.inf, "until": UNTIL, "shape": "cosine"}
METHOD = Method(
    columns=columns,
    objectives=lambda: [
        {"dino": Dino(large=VIEWS, small=[], hidden=12, bottleneck=6, prototypes=WIDTH, teacher_temperature=TEACHER)}
    ],
    phases=[{"until": 64}],
    states={
        "ema": {"name": "ema", "horizon": RAMP, "centre": [f"{view}/dino" for view in VIEWS], "centre_horizon": CENTRE}
    },
)


def test_it_is_the_papers_algorithm(tmp_path: Path) -> None:
    """Algorithm 1 by hand: two networks, one loss, lambda and the centre, on plain modules."""
    setup = make_setup(METHOD, tmp_path / "unused")
    student, teacher = copy.deepcopy(setup.model), copy.deepcopy(setup.model)
    set_trainable(student, ["*"], where="test")
    teacher.eval()
    options = OptimiserOptions(rate=3e-3, warmup=16)
    optimiser = make_optimiser(student, options)
    plan, centre = Plan.of(keys(*(f"{view}/dino" for view in VIEWS))), torch.zeros(WIDTH, dtype=torch.float64)
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
    got = train(METHOD, str(tmp_path / "run"))
    torch.testing.assert_close(got["states"]["ema|centre|dino"], centre, rtol=1e-6, atol=1e-9)
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(got["weights"][f"model.{name}"], parameter.detach(), rtol=1e-6, atol=1e-8)
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(got["states"][f"ema|model.{name}"], parameter.detach(), rtol=1e-6, atol=1e-8)
    assert got["states"]["ema|centre|dino"].abs().min() > 1e-3
