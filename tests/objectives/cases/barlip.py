"""Image and report, and large crops beside small ones."""

from __future__ import annotations

from tests.objectives.cases import crops, method

PAIRS = [["image", "text"], ["image.large", "image.local"]]
CASES = {"both": method({"name": "barlip", "pairs": PAIRS, "hidden": 12, "width": 6}, columns=crops)}
