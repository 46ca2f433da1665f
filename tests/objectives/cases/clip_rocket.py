"""Two strong views, with equal reports as positives and a patient's other studies left out."""

from __future__ import annotations

from tests.objectives.cases import method, strong

CASES = {"recipe": method({"name": "clip_rocket", "exclude": "same_patient", "hidden": 12}, columns=strong)}
