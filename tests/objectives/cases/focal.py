"""Findings by focal loss, whose margin makes it the asymmetric loss."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method

SPEC = {"name": "focal", "truth": "labels", "labels": list(FINDINGS), "gamma_positive": 0.0, "margin": 0.05}
CASES = {"labels": method(SPEC)}
