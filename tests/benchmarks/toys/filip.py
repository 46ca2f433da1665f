"""FILIP: pictures of four objects, each with a text that names one of them."""

from __future__ import annotations

from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._objects import pointing, train

CLAIM = "The cell nearest to the name of an object is its own more often by late interaction than by pooled vectors."
BETTER, WORSE = "filip", "clip"


def toy(seed: int) -> dict[str, float]:
    """Return the pointing accuracy of both."""
    late, pooled = (train(seed, [Clip(score=score)], objects=4) for score in ("late_interaction", "dot"))
    return {
        "filip": pointing(late, cell="local", word="local", objects=4),
        "clip": pointing(pooled, cell="plain", word="embedding", objects=4),
    }
