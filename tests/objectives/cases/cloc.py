"""Boxes and phrases through a prompter, where phrases begin alike."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method
from tests.objectives.cases._boxes import BANKS, boxed
from tests.objectives.cases.dito import GRID

SPEC = {"name": "cloc", "labels": list(FINDINGS), "bank": "findings", "most": 2, "same_above": 0.995}
CASES = {"boxes": method(SPEC, spec=GRID, columns=boxed, banks=BANKS)}
