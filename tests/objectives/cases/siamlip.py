"""Image and report, their strong views, and two large crops of one image."""

from __future__ import annotations

from tests.objectives.cases import crops, method, strong

SMALL = {"hidden": 12, "width": 6}
CASES = {
    "texts": method(
        {"name": "siamlip", "pairs": [["image", "text"], ["image.strong", "text.second"]], **SMALL}, columns=strong
    ),
    "crops": method(
        {"name": "siamlip", "pairs": [["image.large", "image.large"]], "layers": 3, **SMALL}, columns=crops
    ),
}
