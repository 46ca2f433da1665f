"""Reproduction cards: every number has a source, and a claim names data that there is a card of, or says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core import resources
from medvlp.core.errors import DataError, UserError
from medvlp.data.cards import cards, load_card
from medvlp.data.reproduction import (
    ReproductionCard,
    claims_on,
    load_reproduction,
    reproduction_cards,
    reproduction_words,
)

OF_NOBODY = {"not published", "seen findings", "said to be GLoRIA's", "medclip's own 5x200"}


@pytest.mark.parametrize("name", reproduction_cards())
def test_each_claim_is_of_known_data_and_a_named_split_and_is_a_share(name: str) -> None:
    card = load_reproduction(name)
    assert card.model == name
    seen = set()
    for claim in card.claims:
        assert claim.data in cards()
        assert claim.split in load_card(claim.data).splits or claim.split in OF_NOBODY, (claim.data, claim.split)
        assert claim.label == "macro" or claim.label in load_card(claim.data).labels
        some = [*([claim.paper] if claim.paper else []), *claim.released, *claim.quoted]
        assert all(0 <= each.value <= 1 for each in some)
        assert all(not each.recalled or "paper" in each.source for each in some)
        key = (claim.data, claim.split, claim.task, claim.metric, claim.label, claim.about)
        assert key not in seen
        seen.add(key)


def test_nothing_is_claimed_to_be_measured_here_without_its_results_file() -> None:
    for name in reproduction_cards():
        for claim in load_reproduction(name).claims:
            assert claim.ours is None or Path(claim.ours.results).suffix == ".json"


def test_the_known_gap_of_medklip_is_told_with_its_threads() -> None:
    claims = {(card.model, claim.metric): claim for card, claim in claims_on("nih_chestxray14")}
    claim = claims["medklip", "auroc"]
    assert claim.paper is not None
    assert claim.paper.value - claim.released[0].value == pytest.approx(0.0443)
    assert ["issue 12" in each.source or "issue 17" in each.source for each in claim.released[:2]] == [True, True]
    (line,) = [each for each in reproduction_words("nih_chestxray14") if each.startswith("MedKLIP") and "auroc" in each]
    assert line == (
        "MedKLIP, official, zero_shot auroc macro: paper 0.7676; released weights 0.7233, 0.7233, 0.73; "
        "quoted 0.7233; ours -"
    )


def test_an_empty_cell_stays_empty() -> None:
    claims = [claim for claim in load_reproduction("medslip").claims if claim.data == "nih_chestxray14"]
    assert all(claim.paper is None and not claim.released and claim.ours is None for claim in claims)
    assert any(each.endswith("macro: ours -") for each in reproduction_words("nih_chestxray14"))


def test_faults_are_told_all_at_once_and_a_number_needs_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data_cards" / "reproduction"
    folder.mkdir(parents=True)
    claim = "{data: x, split: y, task: zero_shot, metric: auroc, paper: {value: 0.5}}"
    (folder / "bad.yaml").write_text(f"model: bad\ncite: c\nclaims: [{claim}]\n")
    (folder / "other.yaml").write_text(f"model: bad\ntitle: t\ncite: c\nclaims: [{claim[:-1]}, note: n}}]\n")
    (folder / "named.yaml").write_text(
        "model: x\ntitle: t\ncite: c\nclaims: [{data: x, split: y, task: zero_shot, metric: a}]\n"
    )
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medvlp")
    with pytest.raises(DataError, match=r"card bad\.title is missing.*paper\.source is missing"):
        load_reproduction("bad")
    with pytest.raises(DataError, match=r"The reproduction card named says that it is of 'x': let the two agree"):
        load_reproduction("named")
    with pytest.raises(UserError, match=r"no data_cards file 'reproduction/nobody\.yaml'"):
        load_reproduction("nobody")
    assert reproduction_cards() == ("bad", "named", "other")


def test_the_schema_can_be_exported() -> None:
    assert "claims" in ReproductionCard.model_json_schema()["properties"]
