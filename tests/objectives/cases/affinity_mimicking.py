"""A teacher that follows the student beside one that stands still, at their own scales; and one at given scales."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "ensemble": method(
        {"name": "affinity_mimicking", "teachers": ["ema", "frozen"], "own": 0.3},
        states={"ema": {"name": "ema", "horizon": 16.0}, "frozen": {"name": "frozen"}},
    ),
    "scales": method(
        {"name": "affinity_mimicking", "teachers": ["frozen"], "teacher_scale": 30.0, "scale": 10.0},
        states={"frozen": {"name": "frozen"}},
    ),
}
