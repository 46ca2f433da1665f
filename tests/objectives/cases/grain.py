"""Queries that are matched with boxes, one of which is the picture's embedding."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method
from tests.objectives.cases._boxes import BANKS, boxed
from tests.objectives.cases.dito import GRID

QUERIES = {"name": "region_queries", "queries": 3, "width": 8, "layers": 2, "heads": 2, "feedforward": 8}
HEADS = {"image/grain": QUERIES, "image/raw": {"name": "projection", "reads": "grain"}}
SPEC = {"name": "grain", "labels": list(FINDINGS), "bank": "findings"}
CASES = {"boxes": method({"name": "clip"}, SPEC, spec={**GRID, "heads": HEADS}, columns=boxed, banks=BANKS)}
