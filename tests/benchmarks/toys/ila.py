"""Two frames, each with one of two glyphs: which came first?"""

from __future__ import annotations

from medvlp.models.encoders.ila import Ila
from medvlp.models.encoders.slices import SliceEncoder
from tests.benchmarks.toys._frames_world import SLICE, Reader, accuracy, glyphs

CLAIM = "Which of two frames came first is read by ILA's mean of frames, and by the plain one no better than by chance."
BETTER, WORSE = "ila", "average"


def toy(seed: int) -> dict[str, float]:
    """Accuracy on held-out stacks."""
    own = accuracy(lambda: Reader(Ila(slice=SLICE, hidden=32)), glyphs, seed, steps=300, aligned=0.1)
    return {"ila": own, "average": accuracy(lambda: Reader(SliceEncoder(slice=SLICE)), glyphs, seed, steps=300)}
