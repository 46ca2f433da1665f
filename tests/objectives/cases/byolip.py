"""Image and report, and their strong views, with a teacher's targets."""

from __future__ import annotations

from tests.objectives.cases import method, strong

CASES = {
    "texts": method(
        {"name": "byolip", "pairs": [["image", "text"], ["image.strong", "text"]], "hidden": 12, "width": 6},
        columns=strong,
        states={"ema": {"name": "ema", "horizon": 60.0}},
    )
}
