"""Both terms, the random one on a ramp, of a teacher copied later; and with uniform draws at a temperature."""

from __future__ import annotations

from tests.objectives.cases import method

STATES = {"frozen": {"name": "frozen"}}
LATER = {"frozen": {"name": "frozen", "begin": 8}}
RAMP = {"start": 1.0, "end": 0.0, "until": 24}
CASES = {
    "ramp": method({"name": "clip_refine", "teacher": "frozen", "random_weight": RAMP}, states=LATER),
    "uniform": method(
        {"name": "clip_refine", "teacher": "frozen", "temperature": 2.0, "prior": "uniform", "mean": 0.5}, states=STATES
    ),
}
