"""Findings by a linear head: each for itself, weighed, and one that excludes the others."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method

SPEC = {"name": "classify", "labels": list(FINDINGS)}
CASES = {
    "binary": method({**SPEC, "positive_weights": [2.0, 1.0, 1.0, 3.0]}),
    "exclusive": method({**SPEC, "exclusive": True}),
}
