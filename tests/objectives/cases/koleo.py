"""Crops of other samples, and pooled images of other patients."""

from __future__ import annotations

from tests.objectives.cases import crops, method

CASES = {
    "crops": method({"name": "koleo"}, columns=crops),
    "patients": method({"name": "koleo", "view": "image", "part": "embedding", "apart": "patient"}),
}
