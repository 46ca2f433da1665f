"""Two frames, each with one of two glyphs: which came first?

Over seeds 0 and 1 the transformer over frames without messages reads it too, and messages without it, which know no
order, are at chance: this world says nothing of what messages add.
"""

from __future__ import annotations

from medvlp.models.encoders.slices import SliceEncoder
from medvlp.models.encoders.x_clip import XClip
from medvlp.models.heads.mit import Mit
from tests.benchmarks.toys._frames_world import SLICE, WIDTH, Reader, accuracy, glyphs

CLAIM = "Which of two frames came first is read by X-CLIP, and by the average of the frames no better than by chance."
BETTER, WORSE = "x_clip", "average"


def toy(seed: int) -> dict[str, float]:
    """Accuracy on held-out stacks."""
    makers = {
        "x_clip": lambda: Reader(XClip(slice=SLICE), Mit(width=WIDTH, frames=2, heads=2)),
        "average": lambda: Reader(SliceEncoder(slice=SLICE)),
    }
    return {name: accuracy(make, glyphs, seed, steps=300) for name, make in makers.items()}
