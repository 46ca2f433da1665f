"""A box head over the proposals of queries, with the frozen tower's own cells and three texts, one of them novel."""

from __future__ import annotations

from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS, method
from tests.objectives.cases._boxes import boxed
from tests.objectives.cases.dito import GRID

QUERIES = {"name": "box_queries", "queries": 4, "layers": 2, "heads": 2, "width": 8, "feedforward": 8, "dropout": 0.0}
HEADS = {"image/local": {"name": "projection", "reads": "tokens"}}
NAMES = {"names": Bank("names", tuple(f"{finding} seen" for finding in FINDINGS[:3]))}
BOXES = {"name": "box_set", "labels": list(FINDINGS[:2]), "head": QUERIES}
SPEC = {"name": "dito_detector", "labels": list(FINDINGS[:2]), "novel": [FINDINGS[2]], "bank": "names", "iou": 0.1}
SPEC |= {"head": {"hidden": 8, "scales": [1.0, 0.5]}}
CASES = {"proposals": method(BOXES, SPEC, spec={**GRID, "heads": HEADS}, columns=boxed, banks=NAMES)}
