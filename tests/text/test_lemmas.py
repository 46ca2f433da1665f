from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import UserError
from medvlp.text.lemmas import lemmatiser, spacy_lemmatiser
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary

WORDS = load_medslip_vocabulary()
LEMMA = WORDS.lemmas()


@pytest.mark.parametrize(
    ("form", "lemma"),
    [
        ("opacities", "opacity"),
        ("masses", "mass"),
        ("processes", "process"),
        ("clips", "clip"),
        ("enlarged", "enlarge"),
        ("widening", "widen"),
        ("scarring", "scar"),
        ("crowding", "crowd"),
        ("obscuring", "obscure"),
        ("lower", "low"),
        ("larger", "large"),
        ("worse", "bad"),
        ("pneumothoraces", "pneumothorax"),
        ("markings", "marking"),
        ("atelectasis", "atelectasis"),
        ("status", "status"),
        ("loss", "loss"),
        ("thickening", "thicken"),
        ("Calcified", "calcify"),
        ("can not be assessed", "can not be assess"),
        ("not well seen", "not well see"),
        ("rods", "rod"),
    ],
)
def test_forms_lead_to_their_lemma(form: str, lemma: str) -> None:
    assert LEMMA(form) == lemma


def test_a_word_of_the_vocabulary_counts_as_itself() -> None:
    for word in (*WORDS.observations, *WORDS.excluded, *WORDS.merges):
        assert WORDS.merges.get(LEMMA(word), LEMMA(word)) == WORDS.merges.get(word, word)


@given(st.text(alphabet="abceginrsuyd ", max_size=16))
def test_a_lemma_keeps_the_number_of_words(phrase: str) -> None:
    assert len(LEMMA(phrase).split()) == len(phrase.split())


def test_a_suffix_is_taken_off_only_where_a_known_word_remains() -> None:
    lemma = lemmatiser({"blunt"}, {})
    assert lemma("blunted") == "blunt"
    assert lemma("rounded") == "rounded"


def test_the_lemmas_of_spacy_are_refused_where_it_is_not_installed() -> None:
    if importlib.util.find_spec("spacy") is not None and importlib.util.find_spec("en_core_web_sm") is not None:
        assert spacy_lemmatiser()("opacities") == "opacity"
        return
    with pytest.raises(UserError, match="which is not installed: install it, or leave the built-in lemmatiser"):
        spacy_lemmatiser()
