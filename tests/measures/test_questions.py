"""Answers are compared by their words; case, punctuation and articles are no difference."""

from __future__ import annotations

from pathlib import Path

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
