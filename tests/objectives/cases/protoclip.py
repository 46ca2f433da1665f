"""Clusters of one space as classes of the other, after a pass over the samples."""

from __future__ import annotations

from medvlp.training.phases import Refresh
from tests.objectives.cases import method

SPEC = {"name": "protoclip", "hidden": 16, "width": 8, "norm": "layer"}
CASES = {
    "back translation": method(
        SPEC,
        {"name": "clip"},
        states={"clusters": {"name": "clusters", "clusters": 4}},
        phases=[{"until": 24, "refresh": (Refresh(state="clusters", every=1000),)}],
    )
}
