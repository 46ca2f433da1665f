"""Prototypes of findings that follow the rows."""

from __future__ import annotations

from tests.objectives.cases import FINDINGS, method

STATE = {"name": "class_prototypes", "labels": list(FINDINGS[:2]), "momentum": 0.9, "clean_from": 16}
CASES = {
    "binary": method({"name": "class_prototypes"}, {"name": "clip"}, states={"class_prototypes": STATE}),
    "exclusive": method(
        {"name": "class_prototypes", "mode": "exclusive"}, {"name": "clip"}, states={"class_prototypes": STATE}
    ),
}
