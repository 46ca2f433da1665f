"""VR-LwF (Ding et al. 2022): fine-tuning on new classes, and what becomes of the old ones."""

from __future__ import annotations

import copy

import torch

from medvlp.core import Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.clip import Clip
from medvlp.objectives.distill import Distill
from tests.benchmarks.toys._taught import CLASSES, CODE, Towers, World, train, zero_shot

CLAIM = "Held along random pseudo-sentences, towers keep more of their zero-shot accuracy on the classes of before."
BETTER, WORSE = "held", "plain"

OLD = 15


def toy(seed: int) -> dict[str, float]:
    """Return zero-shot accuracy on old classes after fine-tuning on five new ones, and on those."""
    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    old, new = torch.arange(1200) % OLD, OLD + torch.arange(300) % (CLASSES - OLD)
    first, second = world.pairs(old, draw), world.pairs(new, draw)
    tests = {"": (world.pairs(old, draw), old), "_new": (world.pairs(new, draw), new)}
    clip = Clip(positives="own")
    before = train(Towers(seed), first, [(clip, 1.0)], steps=300, seed=seed)
    with torch.no_grad():  # texts that say nothing of any class
        words = world.shown("text", torch.randn(300, CODE, generator=draw), draw)
        bank = Part(unit(before("text", words)), torch.full((300,), -1))
    held = [(clip, 1.0), (Distill(teacher="teacher", bank="words"), 4.0)]
    options = {"steps": 400, "seed": seed + 1, "teacher": before.frozen()}
    options["more"] = {parse_key("teacher:bank.words/embedding"): bank}
    towers = {
        "before": before,
        "held": train(copy.deepcopy(before), second, held, **options),
        "plain": train(copy.deepcopy(before), second, held[:1], **options),
    }
    return {name + of: zero_shot(each, *test) for name, each in towers.items() for of, test in tests.items()}
