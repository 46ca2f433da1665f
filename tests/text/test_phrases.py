from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.phrases import Phrases, plain, tokens_of
from tests.text.notation import written_out


def _places(phrases: Phrases[Any]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Every place of the tree of words, by the words that lead to it, with what it stands for."""
    found: dict[tuple[str, ...], tuple[Any, ...]] = {}
    left = [((word,), node) for word, node in phrases._root.following.items()]
    while left:
        words, node = left.pop()
        found[words] = node.values
        left += [((*words, word), following) for word, following in node.following.items()]
    return found


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
    assert written_out(line) == phrases
    assert _places(Phrases([(line, "it")])) == _places(Phrases([(phrase, "it") for phrase in phrases]))


_PIECES = ("a", "-b", " ", " c ", "[d]", "[d|e f]", "(g|h i)", "x(s|)", "[ (k|l m) n[o]]", "(p|[q r] s)t", "(", "]")


@given(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))
def test_a_set_of_phrases_is_that_of_each_phrase_alone(line: str) -> None:
    alone = written_out(line)
    one, other = Phrases([(line, 1)]), Phrases([(phrase, 1) for phrase in alone])
    assert _places(one) == _places(other)
    assert one.words == other.words


def test_words_that_may_be_left_out_are_not_tried_in_all_their_combinations() -> None:
    phrases = Phrases([("[very] " * 60 + "small effusion", "effusion")])  # 2^60 ways to write 61 phrases
    assert [each.at for each in phrases.find(tokens_of("A very very small effusion"))] == [(1, 2, 3, 4)]


def test_places_that_no_sentence_comes_to_take_no_memory() -> None:
    choices = " ".join(f"[({'|'.join(first + letter for letter in 'abcdefgh')})]" for first in "klmno")
    tracemalloc.start()  # 9^5 ways to write it, most of which nobody writes
    phrases = Phrases([(f"mass {choices} liver", "of the liver")])
    (found,) = phrases.find(tokens_of("A mass ka mc oh liver."))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.values == ("of the liver",)
    assert taken < 1e6


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
