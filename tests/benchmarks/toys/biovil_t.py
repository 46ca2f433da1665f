"""A film and its prior: has the finding grown?"""

from __future__ import annotations

from medvlp.models.encoders.biovil_t import BioVilT
from medvlp.models.encoders.slices import SliceEncoder
from tests.benchmarks.toys._frames_world import SLICE, WIDTH, Reader, accuracy, changes

CLAIM = "Whether a disc has grown since the prior is read by BioViL-T's pair, and by the current film only by chance."
BETTER, WORSE = "pair", "current"


def toy(seed: int) -> dict[str, float]:
    """Accuracy on held-out pairs; beside both, the average of the two films."""
    makers = {
        "pair": lambda: Reader(BioVilT(slice=SLICE, width=WIDTH, layers=2, heads=2)),
        "current": lambda: Reader(BioVilT(slice=SLICE, width=WIDTH, layers=2, heads=2), frames=1),
        "average": lambda: Reader(SliceEncoder(slice=SLICE)),
    }
    return {name: accuracy(make, changes, seed, steps=300) for name, make in makers.items()}
