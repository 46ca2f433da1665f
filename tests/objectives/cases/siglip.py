"""Every pair for itself."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "reports": method({"name": "siglip", "positives": "own", "exclude": "same_report"}),
    "ring": method({"name": "siglip", "positives": "own", "exclude": "same_report", "ring": True}),
}
