"""Nested prefixes of eight numbers: by reports, and by labels with exclusions."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "own": method({"name": "matryoshka", "halvings": 2}),
    "labels": method({"name": "matryoshka", "halvings": 1, "positives": "shared_labels", "exclude": "same_report"}),
}
