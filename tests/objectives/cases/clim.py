"""Tiles of two by two neighbours against their reports; a chunk may hold a part of a group."""

from __future__ import annotations

from medvlp.data.batch_views.mosaic import Mosaic
from tests.objectives.cases import UNTIL, method
from tests.objectives.cases.dito import GRID

PHASES = [{"until": UNTIL, "batch_views": (Mosaic(),)}]
CASES = {"tiles": method({"name": "clip"}, {"name": "clim", "teach_text": True}, spec=GRID, phases=PHASES)}
