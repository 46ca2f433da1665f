"""GLoRIA: pictures of four objects, each with a text that names one of them."""

from __future__ import annotations

from medvlp.objectives import Clip
from medvlp.objectives.gloria import Gloria
from tests.benchmarks.toys._objects import pointing, train

CLAIM = "The cell that the name of an object attends to most is its own more often than the cell nearest to it by CLIP."
BETTER, WORSE = "gloria", "clip"


def toy(seed: int) -> dict[str, float]:
    """Return the pointing accuracy of both."""
    attended, pooled = (train(seed, parts, objects=4) for parts in ([Clip(), Gloria()], [Clip()]))
    return {
        "gloria": pointing(attended, cell="local", word="local", objects=4, cosine=False),
        "clip": pointing(pooled, cell="plain", word="embedding", objects=4),
    }
