"""The cards of the open sets: what each must tell a reader."""

from __future__ import annotations

import re

import pytest

from medvlp.core.resources import resource
from medvlp.data.cards import load_card

NAMES = ("chestx_det", "covid_chestxray", "covidx", "ct_rate", "openi", "pneumonia_kermany", "vindr_cxr", "vqa_rad")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_who_how_what_can_go_wrong_and_what_not_to_conclude(name: str) -> None:
    prose = resource("data_cards", f"{name}.md").read_text("utf-8").split("---\n", 2)[2]
    assert {"Files", "Traps", "Subgroups", "What not to conclude"} <= set(re.findall(r"^## (.+)$", prose, re.MULTILINE))
    card = load_card(name)
    assert card.cite
    assert card.source
    assert "official" in card.splits


@pytest.mark.parametrize("name", NAMES)
def test_findings_are_snake_case_and_words_mean_one_finding(name: str) -> None:
    card = load_card(name)
    lists = [{finding: [word] for finding, word in card.labels.items()}, *card.vocabularies.values()]
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", finding) for words in lists for finding in words)
    assert len(set(card.labels.values())) == len(card.labels)


@pytest.mark.parametrize("name", NAMES)
def test_a_split_with_a_flaw_says_who_found_it(name: str) -> None:
    for facts in load_card(name).splits.values():
        assert facts.source
        assert facts.rule in ("column", "ids", "none")


def test_vindrs_lists_are_parts_of_its_labels() -> None:
    card = load_card("vindr_cxr")
    assert len(card.labels) == 28
    assert {finding for finding, word in card.labels.items() if word == "No finding"} == {"no_finding"}
    for words in card.vocabularies.values():
        assert all(card.labels[finding] == word for finding, (word,) in words.items())
    assert len(card.vocabularies["local"]) == 22
    assert len(card.vocabularies["kaggle"]) == 14 + 1
