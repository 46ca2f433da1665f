"""Weighted positives, equal reports among them, and with negatives of a row's own view."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "weighted": method({"name": "dcl"}),
    "within": method({"name": "dcl", "within": True, "exclude": "same_patient"}),
}
