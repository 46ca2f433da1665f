"""Noisy pairs are worth having: scale makes up for wrong reports."""

from __future__ import annotations

import torch

from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._pair_world import pairs, recall, trained

CLAIM = "Four times as many pairs, 30 % of them with a wrong text, beat the clean quarter."
BETTER, WORSE = "noisy", "clean"


def toy(seed: int) -> dict[str, float]:
    """Recall at 1 among 500 held-out pairs after 400 steps of 32 pairs, with ALIGN's label smoothing."""
    image, text = pairs(1600, seed)
    draws = torch.Generator().manual_seed(seed)
    wrong = torch.rand(1600, generator=draws) < 0.3
    mixed = text.clone()
    mixed[wrong] = text[wrong][torch.randperm(int(wrong.sum()), generator=draws)]
    data = {"noisy": (image, mixed), "clean": (image[:400], text[:400])}
    recipe = Clip(positives="own", label_smoothing=0.1)
    towers = {name: trained(recipe, each, seed=seed, steps=400, batch=32) for name, each in data.items()}
    return {name: recall(each, pairs(500, 500 + seed)) for name, each in towers.items()}
