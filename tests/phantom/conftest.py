"""What the tests of the rendered phantom share: made-up studies and their bodies, each built once a session."""

from __future__ import annotations

from functools import cache

import pytest

from medvlp.core.triplet import Side
from medvlp.phantom.body import Body, build_body
from medvlp.phantom.facts import Finding, Lobe, Patient, Study, View


class Chests:
    """Makes findings, studies and bodies."""

    @staticmethod
    def finding(
        name: str, side: Side = "", *, lobe: Lobe = "", size: float = 0.0, amount: float = 0.5, seed: int = 3
    ) -> Finding:
        return Finding(name, side, lobe, "", size, amount, seed)

    @staticmethod
    def study(*findings: Finding, views: tuple[View, ...] = ("PA",), patient: int = 1, female: bool = False) -> Study:
        sex, height = ("F", 164.0) if female else ("M", 177.0)
        person = Patient(f"P{patient:06d}", "F" if sex == "F" else "M", 58, height, 25.0, "train")
        return Study("S0000001", person, 0, "20200101", "A0000001", "north", "N-DR1", views, findings, None)

    def body(
        self, *findings: Finding, views: tuple[View, ...] = ("PA",), patient: int = 1, female: bool = False
    ) -> Body:
        return _body(self.study(*findings, views=views, patient=patient, female=female))


@cache
def _body(study: Study) -> Body:
    return build_body(study, seed=0)


@pytest.fixture(scope="session")
def chests() -> Chests:
    return Chests()
