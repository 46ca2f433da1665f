"""CLIP-Refine (Yamaguchi et al. 2025): closing the gap between images and texts of trained towers."""

from __future__ import annotations

import copy

import torch

from medvlp.objectives.clip import Clip
from medvlp.objectives.clip_refine import ClipRefine
from tests.benchmarks.toys._taught import CLASSES, Towers, World, gap, train, zero_shot

CLAIM = "The random term alone loses zero-shot accuracy, and the hybrid distillation beside it prevents that."
BETTER, WORSE = "both", "random"

RANDOM = ("image_random", "text_random")


def toy(seed: int) -> dict[str, float]:
    """Return zero-shot accuracy before and after, and the gap, negated."""
    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    label = torch.arange(1200) % CLASSES
    data, test = world.pairs(label, draw), world.pairs(label, draw)
    before = train(Towers(seed), data, [(Clip(positives="own"), 1.0)], steps=200, seed=seed)
    towers = {"before": before}
    for name, only in (("both", ()), ("random", RANDOM)):
        refine = [(ClipRefine(teacher="teacher", positives="own"), 1.0)]
        options = {"steps": 150, "seed": seed + 1, "rate": 1e-3, "teacher": before.frozen(), "only": only}
        towers[name] = train(copy.deepcopy(before), data, refine, **options)
    scores = {name: zero_shot(each, test, label) for name, each in towers.items()}
    return {**scores, **{f"{name}_closeness": -gap(each, test) for name, each in towers.items()}}
