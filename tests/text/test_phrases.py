from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.phrases import Phrases, expand, plain, tokens_of


@pytest.mark.parametrize(
    ("line", "phrases"),
    [
        ("effusion", {"effusion"}),
        ("[small] effusion", {"effusion", "small effusion"}),
        ("(left|right) lungs", {"left lung", "right lung"}),
        ("[(plate|disc) like] atelectasis", {"atelectasis", "plate like atelectasis", "disc like atelectasis"}),
        ("heart .. enlarged", {"heart .. enlarged"}),
        ("plate-like", {"plate like"}),
    ],
)
def test_a_line_of_the_notation_stands_for_its_phrases(line: str, phrases: set[str]) -> None:
    assert {" ".join(words) for words in expand(line)} == phrases


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("Opacities", "opacity"),
        ("masses", "mass"),
        ("effusions", "effusion"),
        ("pneumothoraces", "pneumothorax"),
        ("apices", "apex"),
        ("oedema", "edema"),
        ("focus", "focus"),
        ("atelectasis", "atelectasis"),
        ("is", "is"),
        ("can't", "cannot"),
    ],
)
def test_words_are_compared_singular_american_and_in_small_letters(word: str, form: str) -> None:
    assert plain(word) == form


def test_the_longer_phrase_wins_and_each_word_is_used_once() -> None:
    phrases = Phrases([("tube", "device"), ("chest tube", "drain"), ("chest", "chest")])
    found = phrases.find(tokens_of("Chest tube and another tube."))
    assert [(each.values, each.at) for each in found] == [(("drain",), (0, 1)), (("device",), (4,))]


def test_a_gap_spans_adjectives_but_no_clause() -> None:
    phrases = Phrases([("heart .. enlarged", "big"), ("heart ... normal", "fine")])

    def values(text: str) -> list[str]:
        return [value for found in phrases.find(tokens_of(text)) for value in found.values]

    assert values("The heart is mildly to moderately enlarged.") == ["big"]
    assert values("The heart is unremarkable, the aorta enlarged.") == []
    assert values("The heart, mediastinum and pulmonary vessels are normal.") == ["fine"]
    assert values("The heart is large but the hila are normal.") == []


@given(st.text(alphabet="ab-1. ,\n'", max_size=40))
def test_tokens_stand_where_they_say(text: str) -> None:
    tokens = tokens_of(text)
    assert all(not text[token.start : token.end].isspace() and token.start < token.end for token in tokens)
    assert all(one.end <= other.start for one, other in pairwise(tokens))
