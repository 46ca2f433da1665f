"""Answers are compared by their words; case, punctuation and articles are no difference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.measures.questions import Questions, _usual, plain_words, token_f1


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


def test_a_word_counts_as_often_as_both_say_it() -> None:
    """SQuAD's F1: 2 P R / (P + R) with P = 2 / 3 and R = 2 / 2."""
    assert token_f1("left left lung", "left lung") == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert token_f1("left left lung", "left left lung") == 1


def accuracy(truths: list[str], answers: list[str]) -> float:
    ids = [f"q{at}" for at in range(len(truths))]
    cohort = Manifest.of({"id": ids, "text.question": ["Which?"] * len(ids), "text.answer": truths}, root=Path())
    return Questions().values(Predictions(tuple(ids), text=tuple(answers)), cohort)["accuracy"]


def test_no_answer_is_not_the_choice_that_is_an_article() -> None:
    assert accuracy(["A", "B", "A"], ["", "", "The"]) == 0.0
    assert accuracy(["A", "B", "A"], ["a.", "B", "(A)"]) == 1.0
    assert accuracy(["+", "-"], ["-", ""]) == 0.0


def test_closed_questions_are_those_that_the_data_set_calls_so() -> None:
    """VQA-RAD: 131 of its 2,095 closed questions are choices, such as left or right (Lau et al. 2018)."""
    columns = {"id": list("abcd"), "text.answer": ["Left", "yes", "Lung", "no"]}
    said = Predictions(tuple("abcd"), text=("left", "no", "lung", "no"))
    for kinds, closed in ((["CLOSED", "CLOSED", "OPEN", "CLOSED"], 2 / 3), (["", "", None, ""], 1 / 2)):
        cohort = Manifest.of(columns | {"answer_type": kinds}, root=Path())
        found = Questions().values(said, cohort)
        assert found == {"accuracy": 3 / 4, "accuracy/closed": closed, "accuracy/open": 1.0}
    columns = {"id": ["a", "b"], "text.answer": ["left", "lung"], "answer_type": ["CLOSED", "OPEN"]}
    train = Manifest.of(columns, root=Path())
    assert _usual(train) == {True: "left", False: "lung"}


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
            facts={"seed": 0, "resamples": 0, "split": "test"},
        )
        assert len(list(Questions().run(evaluation))) == count
