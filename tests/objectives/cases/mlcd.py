"""Clusters of a frozen copy's rows, three labels an image, and a draw of the classes."""

from __future__ import annotations

from medvlp.training.phases import Refresh
from tests.objectives.cases import UNTIL, method

FROZEN = {"name": "frozen"}
CLUSTERS = {"name": "clusters", "reads": ["frozen:image/embedding"], "clusters": 7, "spherical": True}
PHASES = [{"until": UNTIL, "refresh": (Refresh(state="clusters", every=1000),)}]
# All classes are drawn within a few steps, so that each of them moves.
SPEC = {"name": "mlcd", "classes": 7, "sampled": 0.8, "scale": 8.0}
CASES = {
    "several": method(SPEC, phases=PHASES, states={"frozen": FROZEN, "clusters": {**CLUSTERS, "nearest": 3}}),
    "one": method(
        {**SPEC, "field": "number.cluster_image"}, phases=PHASES, states={"frozen": FROZEN, "clusters": CLUSTERS}
    ),
}
