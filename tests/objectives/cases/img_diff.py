"""Images and reports of samples that differ in one of four findings, or in up to two."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method

CASES = {
    "one": method({"name": "img_diff", "labels": FINDINGS}),
    "two": method({"name": "img_diff", "labels": FINDINGS, "most": 2, "exclude": "same_patient"}),
}
