"""Few hard negatives, so that most columns are left out."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {"hard": method({"name": "unime", "negatives": 2}), "filtered": method({"name": "unime", "margin": 0.0})}
