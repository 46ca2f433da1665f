"""Small batches: with the positive in the denominator easy pairs teach little."""

from __future__ import annotations

from medvlp.objectives.clip import Clip
from medvlp.objectives.dcl import Dcl
from tests.benchmarks.toys._pair_world import pairs, recall, scores

CLAIM = "At batches of 8 the decoupled loss retrieves at least as well as InfoNCE."
BETTER, WORSE = "decoupled", "infonce"


def toy(seed: int) -> dict[str, float]:
    """Recall at 1 among 500 held-out pairs after 600 steps of 8 pairs."""
    objectives = {
        "decoupled": Dcl(positives="own", sigma=None),
        "weighted": Dcl(positives="own", sigma=0.5),
        "infonce": Clip(positives="own"),
    }
    return scores(objectives, pairs(4000, seed), pairs(500, 500 + seed), recall, seed=seed, steps=600, batch=8)
