"""MGCA's token level: pictures of four objects, each with a text that names one of them."""

from __future__ import annotations

from medvlp.objectives import Clip
from medvlp.objectives.mgca import Mgca
from tests.benchmarks.toys._objects import pointing, train

CLAIM = "The cell nearest to the name of an object is its own more often where tokens of a study align than by CLIP."
BETTER, WORSE = "mgca", "clip"


def toy(seed: int) -> dict[str, float]:
    """Return the pointing accuracy of both."""
    aligned, pooled = (train(seed, parts, objects=4) for parts in ([Clip(), Mgca()], [Clip()]))
    return {
        "mgca": pointing(aligned, cell="local", word="local", objects=4),
        "clip": pointing(pooled, cell="plain", word="embedding", objects=4),
    }
