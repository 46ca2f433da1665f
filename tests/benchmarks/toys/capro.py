"""Two groups of vectors, two fifths of the labels turned, and reports that say what is there."""

from __future__ import annotations

import torch

from medvlp.objectives.capro import Capro
from medvlp.state._anchors import Anchors
from medvlp.state.class_prototypes import ClassPrototypes
from tests.benchmarks.toys._noisy import auroc, cross_entropy, noisy, plain

CLAIM = "With 40 % of the labels turned at random and informative texts it beats plain cross entropy."
BETTER, WORSE = "capro", "cross_entropy"


def toy(seed: int) -> dict[str, float]:
    """Return the AUROC on unseen samples."""
    draws = torch.Generator().manual_seed(seed)
    x, truth, axis = _drawn(600, draws, None)
    unseen, answer, _ = _drawn(1000, draws, axis)
    labels = torch.where(torch.rand(600, generator=draws) < 0.4, 1 - truth, truth)
    text = torch.stack([truth, 1 - truth], dim=1) + 0.7 * torch.randn(600, 2, generator=draws)
    net = plain(x, cross_entropy(labels), seed=seed)
    options = {"predictions": "image/findings", "clean_from": 6400, "momentum": 0.99}
    anchors = Anchors(each=40, neighbours=15, inner=6)
    state = ClassPrototypes(labels=["effusion"], reads="image/capro", anchors=anchors, **options)
    objective = Capro(labels=["effusion"], width=8)
    own = noisy(objective, state, x, {"label.effusion": labels}, seed=seed, text=text, prototypes={})
    return {"capro": auroc(own, unseen, answer), "cross_entropy": auroc(net, unseen, answer)}


def _drawn(count: int, draws: torch.Generator, axis: torch.Tensor | None):
    axis = torch.randn(16, generator=draws) if axis is None else axis
    truth = (torch.rand(count, generator=draws) < 0.5).float()
    away = (2 * truth - 1)[:, None] * axis / axis.norm()
    return 1.2 * away + torch.randn(count, 16, generator=draws), truth, axis
