"""DreamLIP: two objects a picture that mostly come together, one sentence each."""

from __future__ import annotations

from medvlp.objectives.clip import Clip
from medvlp.objectives.dreamlip import Dreamlip
from tests.benchmarks.toys._objects import pointing, train

CLAIM = "The cell that a sentence groups most is its object's more often than the cell nearest to it by CLIP alone."
BETTER, WORSE = "dreamlip", "clip"
WORLD = {"objects": 2, "together": 0.8}


def toy(seed: int) -> dict[str, float]:
    """Return the pointing accuracy of both, and beside them of CLIP that was given one text with both sentences."""
    clip = Clip(reading="each")
    grouped, plain = (train(seed, parts, rows=2, **WORLD) for parts in ([clip, Dreamlip()], [clip]))
    return {
        "dreamlip": pointing(grouped, cell="local", word="embedding", **WORLD),
        "clip": pointing(plain, cell="plain", word="embedding", **WORLD),
        "clip_whole": pointing(train(seed, [clip], names=2, **WORLD), cell="plain", word="embedding", **WORLD),
    }
