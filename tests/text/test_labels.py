from __future__ import annotations

import pytest

from medvlp.text.labels import label_report


def test_present_absent_uncertain_and_not_mentioned_are_kept_apart() -> None:
    labels = label_report("Left effusion. No pneumothorax. Possible pneumonia.", "nih14")
    assert (labels["effusion"], labels["pneumothorax"], labels["pneumonia"], labels["mass"]) == (1.0, 0.0, -1.0, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("No effusion. Possible effusion.", -1.0),
        ("Possible effusion. Left effusion. No right effusion.", 1.0),
        ("History of effusion.", None),
        ("If effusion is suspected, get an ultrasound.", None),
        ("The effusion has resolved.", 0.0),
        ("Costophrenic angles are sharp.", 0.0),
        ("Blunted left costophrenic angle.", -1.0),
    ],
)
def test_present_beats_uncertain_beats_absent(text: str, value: float | None) -> None:
    assert label_report(text, "nih14")["effusion"] == value


def test_a_kind_counts_as_what_it_is_a_kind_of_and_a_denied_whole_denies_its_kinds() -> None:
    labels = label_report("Rib fracture. Left pacemaker.", "chexpert14")
    assert (labels["fracture"], labels["support_devices"]) == (1.0, 1.0)
    assert label_report("No fracture.", "phantom12")["rib_fracture"] == 0.0
    assert label_report("Fracture of the spine.", "phantom12")["rib_fracture"] is None  # a whole is none of its kinds
    assert label_report("No rib fracture.", "chexpert14")["fracture"] == 0.0  # a mention of the label, as there


def test_what_chexpert_implies_is_implied_there_only() -> None:
    text = "Left lower lobe pneumonia. The heart is enlarged."
    labels = label_report(text, "chexpert14")
    assert (labels["lung_opacity"], labels["consolidation"], labels["enlarged_cardiomediastinum"]) == (1.0, 1.0, 1.0)
    assert label_report(text, "vindr28")["lung_opacity"] is None
    assert label_report("Possible edema.", "chexpert14")["lung_opacity"] is None  # what is present alone implies


def test_words_that_keep_a_mention_from_counting_and_signs_that_need_a_sentence_of_their_own() -> None:
    opacity = label_report("Airspace opacity at the left base.", "chexpert14")
    assert (opacity["consolidation"], opacity["lung_opacity"]) == (None, 1.0)
    assert label_report("Left basal opacity.", "phantom12")["consolidation"] == 1.0
    assert label_report("Left basal opacity from atelectasis.", "phantom12")["consolidation"] is None


def test_doubt_that_a_data_set_takes_for_certain_is_certain_there_only() -> None:
    labels = (label_report("Likely left nodule.", name)["nodule"] for name in ("phantom12", "nih14"))
    assert tuple(labels) == (1.0, -1.0)
    assert label_report("Possible scoliosis. Clear lungs.", "openi_gold")["no_finding"] is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Clear lungs, normal heart.", 1.0),
        ("Central line in place. No effusion.", 1.0),
        ("Small effusion.", None),
        ("Possible effusion.", None),
        ("Pacemaker and cardiomegaly.", None),
        *((text, None) for text in ("", "NA", "nan", " None\n", "N/A.", "-", "___", "NULL")),  # no report
    ],
)
def test_no_finding_is_chexperts_nothing_present_or_uncertain_but_devices(text: str, value: float | None) -> None:
    assert label_report(text, "chexpert14")["no_finding"] == value


def test_normal_of_a_whole_report_allows_no_finding_at_all() -> None:
    assert label_report("Scoliosis. Clear lungs.", "nih14")["no_finding"] == 1.0
    assert label_report("Scoliosis. Clear lungs.", "openi_gold")["no_finding"] is None
    assert label_report("Clear lungs.", "openi_gold")["no_finding"] == 1.0


def test_nodule_or_mass_counts_both() -> None:
    assert label_report("Right lung mass.", "vindr28")["nodule_or_mass"] == 1.0
    assert label_report("Right lung nodule.", "vindr28")["nodule_or_mass"] == 1.0
