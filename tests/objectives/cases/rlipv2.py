"""Pairs of queries matched with stated relations, with and without boxes of places."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method
from tests.objectives.cases._relations import BANKS, HEAD, WORDS, related
from tests.objectives.cases.dito import GRID

SPEC = {"name": "rlipv2", "head": HEAD, **WORDS}
CASES = {
    "boxes": method(SPEC, spec=GRID, columns=related, banks=BANKS),
    "findings": method({**SPEC, "drawn": list(FINDINGS)}, spec=GRID, columns=related, banks=BANKS),
}
