"""States that methods of labels that may be wrong stand on, in the space of a method's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlp.training.phases import Refresh
from tests.objectives.cases import FINDINGS, UNTIL

LABELS = list(FINDINGS[:2])
PHASES = [{"until": UNTIL, "refresh": (Refresh(state="class_prototypes", every=1000),)}]


def states(rows: str, *, beside: tuple[str, ...] = (), **options: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return a teacher, its queue, and prototypes that are cleaned from the second step on."""
    key = f"image/{rows}"
    prototypes = {"name": "class_prototypes", "labels": LABELS, "reads": key, "momentum": 0.9, "clean_from": 8}
    return {
        "ema": {"name": "ema", "horizon": 20.0},
        "queue": {"name": "queue", "reads": [f"ema:{key}"], "size": 12, "beside": beside},
        "class_prototypes": {**prototypes, "predictions": "image/findings", **options},
    }
