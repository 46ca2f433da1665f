from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.mirror import mirror_sides
from medvlp.text.side_words import SIDE_WORD, opposite, side_of
from tests.text.reading import phantom_reports


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Left effusion, right nodule.", "Right effusion, left nodule."),
        ("LEFT-SIDED EFFUSION", "RIGHT-SIDED EFFUSION"),
        ("Leftward shift.", "Rightward shift."),
        ("RLL and LUL opacities.", "LLL and RUL opacities."),
        ("R pleural effusion, L>R atelectasis.", "L pleural effusion, R>L atelectasis."),
        ("L-sided PICC, Lt. chest tube.", "R-sided PICC, Rt. chest tube."),
        ("RIJ catheter.", "LIJ catheter."),
        ("Mild dextroscoliosis.", "Mild levoscoliosis."),
        ("Levoconvex curve.", "Dextroconvex curve."),
        ("No left or right effusion.", "No right or left effusion."),
        ("Bilateral effusions, both lungs.", "Bilateral effusions, both lungs."),
        ("Upright film, the alright is no side.", "Upright film, the alright is no side."),
        ("R/O effusion. L-spine normal.", "R/O effusion. L-spine normal."),
        ("", ""),
    ],
)
def test_every_word_of_side_is_exchanged_and_twice_gives_the_text_back(text: str, other: str) -> None:
    assert mirror_sides(text) == other
    assert mirror_sides(other) == text


@pytest.mark.parametrize(
    "text",
    [
        "Dextrocardia.",
        "Situs inversus.",
        "Lingular opacity.",
        "Right middle lobe nodule.",
        "RML pneumonia.",
        "Calcified aortic arch.",
        "Gastric bubble below the left diaphragm.",
        "The cardiac apex points left.",
        "Left ventricular enlargement.",
        "Enlarged left atrium.",
        "Clips in the right upper quadrant.",
        "Tip in the SVC.",
        "Catheter tip at the cavoatrial junction.",
        "Azygos lobe.",
        "LVAD in place.",
        "The tube was left in place.",
        "The patient left the department.",
        "Seen right away.",
        "lEFT effusion.",
        "Read by Dr. R Smith.",
        "L EFFUSION",
    ],
)
def test_one_sided_anatomy_and_doubtful_sides_have_no_mirror_image(text: str) -> None:
    assert mirror_sides(text) is None


def test_phantom_reports_are_mirrored_word_for_word_and_back() -> None:
    plain = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
    mirrored = 0
    for report in phantom_reports(1000):
        other = mirror_sides(report.text)
        if other is None:
            assert re.search("middle lobe|SVC|cava|cavoatrial|ventric", report.text, re.IGNORECASE)
            continue
        mirrored += 1
        assert mirror_sides(other) == report.text
        assert plain.sub("_", other) == plain.sub("_", report.text)
        turned = {"left": "right", "right": "left"}
        assert [turned[word.lower()] for word in plain.findall(report.text)] == [
            w.lower() for w in plain.findall(other)
        ]
    assert mirrored > 600


@given(st.lists(st.sampled_from(["left", "Right", "LEFT", "RLL", "LUL", "levoscoliosis", "rt", "both", "nodule"])))
def test_the_other_side_of_the_other_side_is_the_side(words: list[str]) -> None:
    text = " ".join(words)
    other = mirror_sides(text)
    assert other is not None
    assert mirror_sides(other) == text
    for one, two in zip(SIDE_WORD.findall(text), SIDE_WORD.findall(other), strict=True):
        assert opposite(one) == two
        assert {side_of(one), side_of(two)} == {"left", "right"}
