"""Texts of a bank as a frozen teacher saw them, and as the student does."""

from __future__ import annotations

from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS, method

SPEC = {"name": "distill", "teacher": "frozen", "bank": "words", "temperature": 0.5}
OPTIONS = {"states": {"frozen": {"name": "frozen"}}, "banks": {"words": Bank("words", FINDINGS)}}
# Alone a student that begins as its teacher has a gradient of rounding errors, which AdamW makes steps of.
CASES = {
    "student": method({**SPEC, "texts": "student"}, {"name": "clip"}, **OPTIONS),
    "teacher": method(SPEC, {"name": "clip"}, **OPTIONS),
}
