"""Two levels over a grid of tokens, random boxes on each."""

from __future__ import annotations

from tests.models.words import DUAL, VISION
from tests.objectives.cases import method

GRID = {**DUAL, "vision": {**VISION, "options": {**VISION["options"], "output_stride": 8}}}
HEAD = {"scales": [1.0, 0.5], "width": 8, "hidden": 8}
CASES = {"levels": method({"name": "dito", "boxes": 3, "head": HEAD}, spec=GRID)}
