"""Two views of each, and one text for two images."""

from __future__ import annotations

from tests.objectives.cases import method, strong

CASES = {
    "both": method({"name": "swalip", "epsilon": 0.3}, columns=strong),
    "one text": method({"name": "swalip", "images": ["image", "image.strong"], "texts": ["text"]}, columns=strong),
}
