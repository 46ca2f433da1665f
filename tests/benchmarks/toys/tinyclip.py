"""TinyCLIP's affinity mimicking (Wu et al. 2023): a tenth of the teacher's width in few steps."""

from __future__ import annotations

import torch

from medvlp.objectives.affinity_mimicking import AffinityMimicking
from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._taught import CLASSES, Towers, World, retrieval, train

CLAIM = "A small student finds more texts by image when it mimics a teacher than when it is told the pairs."
BETTER, WORSE = "mimicking", "clip"


def toy(seed: int) -> dict[str, float]:
    """Return recall at 1 among 600 of unseen pairs after 60 steps."""
    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    label = torch.arange(3000) % CLASSES
    data, test = world.pairs(label, draw), world.pairs(label[:600], draw)
    clip = [(Clip(positives="own"), 1.0)]
    teacher = train(Towers(seed, hidden=256), data, clip, steps=500, seed=seed)
    mimicking = [(AffinityMimicking(teachers=["teacher"], positives="own"), 1.0)]
    towers = {
        "teacher": teacher,
        "mimicking": train(Towers(seed, hidden=24), data, mimicking, steps=60, seed=seed, teacher=teacher.frozen()),
        "clip": train(Towers(seed, hidden=24), data, clip, steps=60, seed=seed),
    }
    return {name: retrieval(each, test) for name, each in towers.items()}
