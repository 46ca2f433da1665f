from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.laterality import other_side, sided_statements, unsided_statements


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("Left effusion.", "Right effusion."),
        ("Small RIGHT-sided effusion.", "Small LEFT-sided effusion."),
        ("Mediastinum is shifted rightward.", "Mediastinum is shifted leftward."),
        ("1. Left effusion.\n2. Right rib fracture.", "1. Right effusion.\n2. Left rib fracture."),
        ("A  left\n effusion.", "A  right\n effusion."),
        ("Left effusion. No right pneumothorax.", "Right effusion. No right pneumothorax."),
        ("Left effusion larger than right. Left nodule.", "Left effusion larger than right. Right nodule."),
        (
            "Opacity in the R\n\nlung bases clear. Left effusion.",
            "Opacity in the R\n\nlung bases clear. Right effusion.",
        ),
        ("Left chest tube in place.", "Right chest tube in place."),
        ("Small (L) effusion.", "Small (R) effusion."),
        ("Effusion on the R.", "Effusion on the L."),
        ("Drain on the left in place.", "Drain on the right in place."),
        ("Left chest tube was left in place.", "Right chest tube was left in place."),
        ("Right drain left\nin situ.", "Left drain left\nin situ."),
        ("R lung mass.\n\n1. No left nodule.\n2. LLL opacity.", "L lung mass.\n\n1. No left nodule.\n2. RLL opacity."),
    ],
)
def test_sides_of_what_is_stated_are_exchanged_and_all_else_stays(text: str, turned: str) -> None:
    assert other_side(text) == turned
    assert other_side(turned) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Cardiomegaly.",
        "No left effusion.",
        "Nil left effusion.",
        "The right lung is clear.",
        "The left and right hila are prominent.",
        "Bilateral effusions, left lower lobe atelectasis.",
        "The left chest tube has been removed.",
        "Right pneumothorax has resolved.",
        "The patient went to the department upright.",
        "Brightness is adequate, cleft lip repair.",
        "Drain left in place.",
        "Possible pneumonia in the right clinical setting.",
        "Drain right in place.",
        "Central line was Left  in situ.",
        "Right middle lobe opacity.",  # there is no left middle lobe,
        "Opacity in the middle lobe of the right lung.",
        "L/R effusions, larger on the left.",
        "Left lingular atelectasis.",  # no right lingula
        "Fluid in the right minor fissure.",  # and no left minor fissure
    ],
)
def test_what_may_be_as_true_of_the_other_side_gives_no_negative(text: str) -> None:
    assert other_side(text) is None


SENTENCES = st.sampled_from(
    [
        "Left effusion.",
        "no right nodule",
        "RIGHT apical pneumothorax.",
        "Both lungs are hyperinflated.",
        "1. Left, right.",
        "The heart is enlarged",
        "",
        "\n\n",
        "5 mm left nodule. Dr. Wright was told.",
        "seen in the R\n\nlung bases",
    ]
)


@given(st.lists(SENTENCES, max_size=6).map(" ".join))
def test_only_side_words_change_and_twice_is_once_undone(text: str) -> None:
    turned = other_side(text)
    if turned is None:
        return
    assert turned != text
    blank = re.compile(r"\b(left|right)\b", re.IGNORECASE)
    assert blank.sub("_", turned) == blank.sub("_", text)
    assert other_side(turned) == text


def test_statements_of_a_side_come_with_their_false_copies_and_without_what_is_true_of_both() -> None:
    report = "FINDINGS\n1. Small left effusion, up to 1.2 cm.\n2. Right nodule. Left nodule. 3. No right cyst."
    assert sided_statements(report) == [("Small left effusion, up to 1.2 cm.", "Small right effusion, up to 1.2 cm.")]
    assert sided_statements("") == []


def test_statements_without_a_side_are_abnormal_and_name_none() -> None:
    report = (
        "FINDINGS\n1. The heart is enlarged.\n2. Bilateral effusions. 3. Small left effusion. No edema. Heart size is "
        "normal. Emphysema has resolved. The trachea is midline. ET tube 3.1 cm above the carina. Trachea is central. "
        "Drain left in place."
    )
    assert unsided_statements(report) == [
        "The heart is enlarged.",
        "Bilateral effusions.",
        "ET tube 3.1 cm above the carina.",
        "Drain left in place.",
    ]
    assert unsided_statements("") == []
