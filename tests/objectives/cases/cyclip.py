"""Consistency alone, and beside `clip` as it is used."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {"alone": method({"name": "cyclip"}), "clip": method({"name": "clip"}, {"name": "cyclip", "in_modal": 1.0})}
