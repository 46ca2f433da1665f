"""Prototypes of predicates over the pairs that `rlipv2` learns beside it."""

from __future__ import annotations

from tests.objectives.cases import method
from tests.objectives.cases._relations import BANKS, HEAD, WORDS, related
from tests.objectives.cases.dito import GRID

SPEC = {"name": "pe_net", "head": {"hidden": 8, "width": 6}, **WORDS}
PAIRS = {"name": "rlipv2", "head": HEAD, **WORDS}
CASES = {"prototypes": method(PAIRS, SPEC, spec=GRID, columns=related, banks=BANKS)}
