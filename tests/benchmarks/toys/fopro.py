"""Many samples of a shifted world with wrong labels, and a few of the real one."""

from __future__ import annotations

import torch

from medvlp.objectives.fopro import Fopro
from medvlp.state.class_prototypes import ClassPrototypes
from tests.benchmarks.toys._noisy import auroc, cross_entropy, noisy, plain

CLAIM = "With sixteen trusted samples of the real world it beats training on the shifted world and its wrong labels."
BETTER, WORSE = "fopro", "web_only"
SHOTS = 16


def toy(seed: int, *, shots: int = SHOTS) -> dict[str, float]:
    """Return the AUROC on the real world; with fewer shots they are the first of the sixteen."""
    draws = torch.Generator().manual_seed(seed)
    axis, turned = (torch.randn(16, generator=draws) for _ in range(2))
    web, of_web = _drawn(600, draws, 0.5 * axis + turned)
    real, of_real = _drawn(SHOTS, draws, axis)
    unseen, answer = _drawn(1000, draws, axis)
    real, of_real = real[:shots], of_real[:shots]
    told = torch.where(torch.rand(600, generator=draws) < 0.3, 1 - of_web, of_web)
    x, labels = torch.cat([web, real]), torch.cat([told, of_real])
    expert = torch.cat([torch.zeros(600), torch.ones(shots)])
    web_only = plain(web, cross_entropy(told), seed=seed)
    mixed = plain(x, cross_entropy(labels), seed=seed)
    state = ClassPrototypes(
        labels=["effusion"],
        reads="image/fopro",
        trusted="number.expert",
        predictions="image/findings",
        relation="relation",
        clean_by="either",
        clean_from=9600,
        momentum=0.999,
    )
    fields = {"label.effusion": labels, "number.expert": expert}
    net = noisy(Fopro(labels=["effusion"], width=8), state, x, fields, seed=seed, prototypes={"margin": 0.5})
    scores = {"fopro": net, "web_only": web_only, "web_and_shots": mixed}
    return {name: auroc(each, unseen, answer) for name, each in scores.items()}


def _drawn(count: int, draws: torch.Generator, axis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    truth = (torch.arange(count) % 2).float()
    away = (2 * truth - 1)[:, None] * axis / axis.norm()
    return 1.5 * away + torch.randn(count, 16, generator=draws), truth
