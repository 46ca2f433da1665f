from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.core.randomness import torch_generator
from medvlp.text.captions import caption, caption_findings
from medvlp.text.mentions import read_report
from medvlp.text.sentences import split_sentences

READ = ("effusion", "pneumothorax", "nodule", "cardiomegaly", "edema", "consolidation", "atelectasis", "fracture")
PRESENCE = {1: "present", 0: "absent", -1: "uncertain"}
LABELS = st.dictionaries(st.sampled_from(READ), st.sampled_from([1.0, 0.0, -1.0, None, math.nan]))
SEEDS = st.integers(0, 2**40)


@given(labels=LABELS, seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_a_caption_read_back_is_its_labels_and_nothing_else(labels: dict[str, float | None], seed: int) -> None:
    text = caption(labels, torch_generator(seed, 0, "caption"), absent=len(READ))
    said = {mention.finding: mention.presence for mention in read_report(text)}
    known = {name: PRESENCE[int(value)] for name, value in labels.items() if value is not None and value == value}
    assert said == known, text


@given(labels=LABELS, seed=SEEDS, absent=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_at_most_so_many_absent_findings_are_denied(labels: dict[str, float | None], seed: int, absent: int) -> None:
    text = caption(labels, torch_generator(seed, 0, "caption"), absent=absent)
    denied = [mention for mention in read_report(text) if mention.presence == "absent"]
    assert len(denied) == min(absent, sum(value == 0 for value in labels.values()))


@pytest.mark.parametrize("name", [name for name in caption_findings() if name != "no_finding"])
@pytest.mark.parametrize("value", [1.0, 0.0, -1.0])
def test_every_finding_has_words_in_whole_sentences_without_side_or_degree(name: str, value: float) -> None:
    for seed in range(12):
        text = caption({name: value}, torch_generator(seed, 0, "caption"))
        assert re.fullmatch(r"[A-Z][^{}]+\.", text)
        assert len(split_sentences(text)) == 1
        assert not re.search(r"\b(?:left|right|bilateral|mild|small|large|severe)\b|\ba [aeiou]|\ban [^aeiou]|  ", text)


def test_no_finding_speaks_only_where_no_finding_is_stated() -> None:
    def said(**labels: float) -> set[str]:
        return {caption(labels, torch_generator(seed, 0, "caption"), absent=0) for seed in range(30)}

    assert said(no_finding=1.0) == {
        "No acute cardiopulmonary abnormality.",
        "No acute abnormality.",
        "There is no abnormality.",
        "Normal study.",
        "Unremarkable study.",
    }
    assert said(no_finding=0.0) == said(no_finding=-1.0) == {""}
    assert not any("No acute" in text for text in said(no_finding=1.0, effusion=1.0))
    # A study with a device is not normal, and has nothing acute.
    assert all("No acute" in text and "acemaker" in text for text in said(no_finding=1.0, pacemaker=1.0))


def test_labels_that_say_nothing_give_no_words() -> None:
    assert caption({}, torch_generator(0, 0, "c")) == caption({"effusion": None}, torch_generator(0, 0, "c")) == ""


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"efusion": 1.0}, "The label 'efusion' has no words for a caption: did you mean 'effusion'?"),
        ({"effusion": 0.5}, "The label 'effusion' is 0.5, allowed are 1, 0, -1 and nothing: correct the column."),
    ],
)
def test_a_label_without_words_or_of_another_number_is_one_sentence(labels: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        caption(labels, torch_generator(0, 0, "caption"))
