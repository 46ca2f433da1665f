"""Its weighted directions, with equal reports left out."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {"weighted": method({"name": "convirt", "positives": "own", "exclude": "same_report"})}
