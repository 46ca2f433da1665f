"""Data cards: facts with their sources, checked."""

from __future__ import annotations

import pytest

from medvlp.core import resources
from medvlp.core.errors import DataError, UserError
from medvlp.core.registry import available
from medvlp.data.cards import DataCard, cards, load_card

GOOD = {"name": "x", "title": "X", "modality": ["cxr"], "licence": "CC0", "access": "open"}


@pytest.mark.parametrize("name", cards())
def test_each_card_is_valid_and_names_itself_its_layout_and_its_overlaps(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert card.layout in ("", *available("data/layouts"))
    assert set(card.overlaps) <= set(cards())


def test_sets_with_the_same_images_name_each_other() -> None:
    linked = {name: set(load_card(name).overlaps) for name in cards()}
    assert {(one, other) for one in linked for other in linked[one] if one not in linked[other]} == set()
    of_nih = {"nih_chestxray14", "rsna_pneumonia", "siim_pneumothorax", "chestx_det", "covidx", "medmnist", "slake"}
    assert all(of_nih - {name} <= linked[name] for name in of_nih)


def test_every_layout_but_the_general_ones_has_a_card() -> None:
    general = {"csv", "hospital", "image_folder", "coco_captions", "webdataset", "hugging_face", "pmc_figures"}
    assert set(available("data/layouts")) - general <= {load_card(name).layout for name in cards()}


def test_labels_given_as_a_list_keep_their_own_names() -> None:
    assert DataCard.model_validate({**GOOD, "labels": ["effusion"]}).labels == {"effusion": "effusion"}


def test_a_count_says_of_what_and_of_which_split_it_is() -> None:
    split = {"title": "t", "rule": "lists", "unit": "patient", "source": "s"}
    counts = [
        {"what": "images", "value": 3, "source": "s"},
        {"what": "images", "value": 2, "split": "official", "source": "s"},
    ]
    card = DataCard.model_validate(
        {**GOOD, "counts": counts, "splits": {"official": {**split, "options": {"names": ["official"]}}}}
    )
    assert [(each.what, each.split, each.value) for each in card.counts] == [
        ("images", "", 3),
        ("images", "official", 2),
    ]


def test_faults_of_a_card_are_all_told_at_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_cards").mkdir()
    (tmp_path / "data_cards" / "bad.md").write_text(
        "---\nname: bad\ntitle: T\nmodality: [xray]\naces: open\n---\nprose\n"
    )
    (tmp_path / "data_cards" / "bare.md").write_text("# no front matter\n")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medvlp")
    with pytest.raises(
        DataError, match=r"card bad\.modality.*card bad\.licence is missing.*card bad\.aces is not a known"
    ):
        load_card("bad")
    with pytest.raises(DataError, match="does not begin with front matter"):
        load_card("bare")
    with pytest.raises(UserError, match=r"no data_cards file 'good\.md'"):
        load_card("good")
