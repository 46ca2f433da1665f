"""Both forms, with equal reports as several positives."""

from __future__ import annotations

from tests.objectives.cases import method

CASES = {
    "euclidean": method({"name": "cacr", "exclude": "same_patient", "prior": 0.1}),
    "rbf": method({"name": "cacr", "form": "rbf", "temperature": 0.2}),
}
