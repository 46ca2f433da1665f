"""Two records a patient, and classes that some samples lack."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "patients": method({"name": "clippings"}),
    "labels": method({"name": "clippings", "by": "label.nodule", "image_share": 0.7}),
}
