"""Anchors by the reports, cleaning with the classifier's part, and prototypes beside it."""

from __future__ import annotations

from tests.objectives.cases import method
from tests.objectives.cases._noisy import LABELS, PHASES, states

SPEC = {"name": "capro", "labels": LABELS, "hidden": 8, "width": 6}
ANCHORS = {"each": 3, "neighbours": 4, "inner": 2}
CASES = {
    "anchors": method(
        SPEC,
        {"name": "class_prototypes", "reads": "image/capro"},
        phases=PHASES,
        states=states("capro", anchors=ANCHORS),
    ),
    "without": method({**SPEC, "beta": 0.0}, phases=PHASES, states=states("capro")),
}
