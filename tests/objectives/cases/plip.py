"""Two samples a patient, and each sample for itself."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {"patients": method({"name": "plip"}), "own": method({"name": "plip", "identity": "none", "eps": 1e-4})}
