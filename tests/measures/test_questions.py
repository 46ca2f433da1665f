"""Answers are compared by their words; case, punctuation and articles are no difference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evidence import measured_of
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


def test_the_control_guesses_each_question_s_kind_whichever_questions_have_a_true_answer() -> None:
    """The first question has none: what the control answers belongs to the others."""
    truths = [None, "Yes", "Lung", "no", "heart", "lung"]
    columns = {
        "id": list("abcdef"),
        "id.patient": list("pqrstu"),
        "text.question": ["Which?"] * 6,
        "text.answer": truths,
    }
    said = Predictions(tuple("abcdef"), text=("", "yes", "lung", "yes", "heart", "liver"))
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        judged=SimpleNamespace(manifest=Manifest.of(columns, root=Path())),
        manifest=SimpleNamespace(
            split_of=lambda split: Manifest.of({"id": ["x", "y"], "text.answer": ["no", "lung"]}, root=Path())
        ),
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test", "train"}),
        giving=lambda part: [("question", SimpleNamespace(asks="question", gives={"text"}), said)],
        facts={"seed": 0, "resamples": 100, "split": "test"},
    )
    own, control = Questions().run(evaluation)
    assert control.role == "control"
    wanted = {"all": (3 / 5, 3 / 5), "closed": (1 / 2, 1 / 2), "open": (2 / 3, 2 / 3)}
    for label, (ours, theirs) in wanted.items():
        assert own.find("accuracy", label).value == pytest.approx(ours)
        assert control.find("accuracy", label).value == pytest.approx(theirs)
        row = own.find("accuracy_difference", "usual" if label == "all" else f"usual/{label}")
        assert row.value == pytest.approx(ours - theirs)
        assert row.counts.n == own.find("accuracy", label).counts.n
    kept = measured_of({each.name: each for each in (own, control)}, "question")
    assert kept is not None
    assert {label: row["over"][0]["control"] for label, row in kept["labels"].items()} == dict.fromkeys(
        ("closed", "open"), "most frequent answers"
    )


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
