"""Our table of PS3.15 E.1-1 against that of another project (dicom-anonymizer), edition 2026c."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag

from medvlp.io.deidentify.profile import Profile, rules

LISTS = {"D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
         "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*"}  # fmt: skip


def test_every_attribute_has_the_action_of_the_standard() -> None:
    base = "dicomanonymizer.dicom_anonymization_databases"
    pytest.importorskip("dicomanonymizer")
    theirs = pytest.importorskip(f"{base}.dicomfields_2026c")
    told = {group << 16 | element: basic for name, basic in LISTS.items()
            for group, element, *rest in getattr(theirs, name) if not rest}  # fmt: skip
    assert {tag: basic for tag, (basic, _) in rules().items()} == told


def test_repeating_groups_private_and_unknown_attributes_are_removed() -> None:
    for tag in (0x50000022, 0x50FE3000, 0x60001500, 0x60FE3000, 0x00110010, 0x00080FFF):
        assert Profile().action(BaseTag(tag), "LO") == "remove"


@pytest.mark.parametrize("dates", ["shift", "remove", "retain"])
def test_days_in_other_calendars_and_retired_numbers_of_orders_go_with_their_siblings(dates: str) -> None:
    """PS3.3 C.7.1.1: a date of birth all the same; PS3.6: (0040,2016) and (0040,2017), renumbered."""
    for tag in (0x00100033, 0x00100034, 0x00401006, 0x00401007, 0x00402006, 0x00402007):
        assert Profile(dates=dates, patient=True).action(BaseTag(tag), dictionary_VR(tag)) == "remove"


def test_an_attribute_that_the_table_lacks_is_known_by_its_own_vr() -> None:
    """Whatever VR a file writes it with: the name of an evaluator, the date of a second review."""
    for tag, action in ((0x00142006, "dummy"), (0x00140102, "date")):
        assert {Profile().action(BaseTag(tag), vr) for vr in ("PN", "DA", "LO", "CS", "OB")} == {action}


@pytest.mark.parametrize(
    ("keyword", "profile", "action"),
    [
        (0x00100040, Profile(), "empty"),
        (0x00100040, Profile(patient=True), "keep"),
        (0x00181000, Profile(), "dummy"),
        (0x00181000, Profile(device=True), "keep"),
        (0x00080080, Profile(institution=True), "keep"),
        (0x00081030, Profile(), "remove"),
        (0x00081030, Profile(descriptors=True), "clean"),
        (0x00080055, Profile(device=True), "clean"),
        (0x0016002B, Profile(descriptors=True), "remove"),
        (0x0020000D, Profile(), "uid"),
        (0x0020000D, Profile(uids=True), "keep"),
        (0x00080020, Profile(), "date"),
        (0x00080020, Profile(dates="retain"), "keep"),
        (0x00080020, Profile(dates="remove"), "empty"),
        (0x00080030, Profile(), "keep"),
        (0x00100030, Profile(dates="retain", patient=True), "empty"),
        (0x00080016, Profile(), "keep"),
    ],
)
def test_options_change_what_the_standard_lets_them_change(keyword: int, profile: Profile, action: str) -> None:
    assert profile.action(BaseTag(keyword), dictionary_VR(keyword)) == action


@pytest.mark.parametrize("profile", [Profile(descriptors=True), Profile(device=True), Profile(patient=True)])
def test_nothing_that_cannot_be_cleaned_is_to_be_cleaned(profile: Profile) -> None:
    for tag in rules():
        for vr in ("OB", "OW", "UN"):
            assert profile.action(BaseTag(tag), vr) != "clean", hex(tag)
