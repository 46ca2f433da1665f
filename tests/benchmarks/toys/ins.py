"""Bags of ten vectors; in a bag with the finding a fifth of them have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from medvlp.objectives.ins import Ins
from medvlp.state.class_prototypes import ClassPrototypes
from tests.benchmarks.toys._noisy import auroc, cross_entropy, noisy, plain

CLAIM = (
    "With a fifth of the instances positive it finds them better than the bags' labels and than pooling the largest."
)
BETTER, WORSE = "ins", "bag_labels"


def toy(seed: int) -> dict[str, float]:
    """Return the AUROC of unseen instances."""
    draws = torch.Generator().manual_seed(seed)
    middle = torch.randn(16, generator=draws)
    x, bag, _ = _drawn(100, draws, middle)
    unseen, _, truth = _drawn(100, draws, middle)
    naive = plain(x, cross_entropy(bag), seed=seed)

    def largest(logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        bags = torch.full((100,), -torch.inf).scatter_reduce(0, index // 10, logits[:, 0], "amax")
        there = bags.isfinite()
        return F.binary_cross_entropy_with_logits(bags[there], bag[::10][there])

    pooled = plain(x, largest, seed=seed)
    state = ClassPrototypes(
        labels=["effusion"],
        reads="image/ins",
        sure="absent",
        predictions="image/findings",
        follow=0.8,
        clean_from=3200,
        momentum=0.9,
    )
    fields = {"label.effusion": bag, "id.study": [f"b{i // 10}" for i in range(1000)]}
    objective = Ins(labels=["effusion"], width=8, alike_from=3200)
    net = noisy(objective, state, x, fields, seed=seed, begin=False)
    scores = {"ins": net, "bag_labels": naive, "largest": pooled}
    return {name: auroc(each, unseen, truth) for name, each in scores.items()}


def _drawn(bags: int, draws: torch.Generator, middle: torch.Tensor):
    bag = (torch.arange(bags) % 2).float().repeat_interleave(10)
    truth = bag * (torch.rand(10 * bags, generator=draws) < 0.2)
    rows = torch.randn(10 * bags, 16, generator=draws) + 2.5 * truth[:, None] * middle / middle.norm()
    return rows, bag, truth
