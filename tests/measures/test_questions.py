"""Answers are compared by their words; case, punctuation and articles are no difference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.measures.questions import Questions, plain_words


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Left lung.", "left lung"),
        ("A", "a"),
        (" (a) ", "a"),
        ("A nodule", "nodule"),
        ("+", "+"),
        ("The", "the"),
        (" ", ""),
        ("", ""),
    ],
)
def test_an_answer_keeps_its_words_where_nothing_else_is_left(text: str, plain: str) -> None:
    assert plain_words(text) == plain
    assert plain_words(plain) == plain


def accuracy(truths: list[str], answers: list[str]) -> float:
    ids = [f"q{at}" for at in range(len(truths))]
    cohort = Manifest.of({"id": ids, "text.question": ["Which?"] * len(ids), "text.answer": truths}, root=Path())
    return Questions().values(Predictions(tuple(ids), text=tuple(answers)), cohort)["accuracy"]


def test_no_answer_is_not_the_choice_that_is_an_article() -> None:
    assert accuracy(["A", "B", "A"], ["", "", "The"]) == 0.0
    assert accuracy(["A", "B", "A"], ["a.", "B", "(A)"]) == 1.0
    assert accuracy(["+", "-"], ["-", ""]) == 0.0


def test_a_part_without_a_single_true_answer_has_no_result() -> None:
    """Of several data sets the judged one may have none."""
    answer, said = SimpleNamespace(asks="question", gives={"text"}), Predictions(("a",), text=("yes",))
    for truth, count in ((None, 0), ("Yes", 1)):
        columns = {"id": ["a"], "id.patient": ["p"], "text.question": ["Effusion?"], "text.answer": [truth]}
        evaluation: Any = SimpleNamespace(
            knows_patients=True,
            judged=SimpleNamespace(manifest=Manifest.of(columns, root=Path())),
            options=SimpleNamespace(split="test"),
            splits=frozenset({"test"}),
            giving=lambda part: [("question", answer, said)],
            drawn={"seed": 0, "resamples": 0},
            source={"recipe": "", "data": "", "synthetic": False},
        )
        assert len(list(Questions().run(evaluation))) == count
