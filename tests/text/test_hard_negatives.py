from __future__ import annotations

from collections import Counter

import pytest
import torch

from medvlp.core.randomness import torch_generator
from medvlp.text.hard_negatives import Kind, false_copies
from medvlp.text.hard_negatives.copies import KINDS, hard_negatives
from medvlp.text.hard_negatives.wording import change_device, deny
from tests.text.reading import denied_by_truth, more_than_the_fact, phantom_reports

COUNT = 120


def texts(text: str, kind: Kind) -> set[str]:
    return {copy.text for copy in false_copies(text, (kind,))}


def test_of_phantom_reports_exactly_the_one_fact_is_changed_and_it_was_true() -> None:
    wrong, made = Counter[str](), Counter[str]()
    for place, report in enumerate(phantom_reports(1000)[:COUNT]):
        for copy in hard_negatives(report.text, torch_generator(2, place, "hard_negative"), most=2):
            made[copy.kind] += 1
            wrong[more_than_the_fact(report.text, copy)] += 1
            assert denied_by_truth(report, copy), copy
    assert wrong == {"": made.total()}
    assert made.total() > COUNT
    assert set(made) >= {"side", "negation", "severity", "anatomy", "device"}


@pytest.mark.parametrize(
    ("kind", "text", "copies"),
    [
        ("side", "Small left effusion.", {"Small right effusion."}),
        ("side", "RLL pneumonia.", {"LLL pneumonia."}),
        ("side", "Right middle lobe nodule.", set()),
        ("side", "Right PICC with its tip in the right atrium.", set()),  # none ends in the left one
        ("side", "Possible pneumonia in the right clinical setting.", set()),
        ("severity", "SMALL LEFT EFFUSION.", {"MODERATE LEFT EFFUSION.", "LARGE LEFT EFFUSION."}),
        ("negation", "THERE IS NO EFFUSION.", {"THERE IS AN EFFUSION."}),
        ("negation", "The heart remains enlarged.", set()),
        ("negation", "Three nodules in the right lung.", set()),
        ("negation", "Cardiac silhouette - enlarged.", set()),
        ("negation", "Edema - yes.", set()),
        ("negation", "Compared to the prior study, no effusion is seen.", set()),
        ("negation", "As before, no effusion.", set()),
        ("anatomy", "Right upper and lower lobe consolidation.", set()),
        ("severity", "The effusion is small.", {"The effusion is moderate.", "The effusion is large."}),
        ("negation", "Right > left pleural effusions.", set()),
        ("negation", "Swan-Ganz catheter in the pulmonary artery.", {"No Swan-Ganz catheter in the pulmonary artery."}),
        ("side", "Left effusion with lingular atelectasis.", set()),
        ("side", "No left effusion.", set()),
        ("side", "Left effusion. Right effusion.", set()),
        ("side", "Left effusion. No right effusion.", set()),
        ("side", "Bilateral effusions.", set()),
        ("side", "Chest tube left in place.", set()),
        ("side", "Right chest tube was left in place.", {"Left chest tube was left in place."}),
        ("side", "Left chest tube in place.", {"Right chest tube in place."}),
        ("negation", "No pneumothorax.", {"Pneumothorax."}),
        ("negation", "There is no pneumothorax.", {"There is a pneumothorax."}),
        ("negation", "There is no pulmonary edema.", {"There is pulmonary edema."}),
        ("negation", "There are no nodules.", {"There are nodules."}),
        ("negation", "No ET tube is seen.", {"An ET tube is seen."}),
        ("negation", "No evidence of effusion.", {"Evidence of effusion."}),
        ("negation", "The heart is not enlarged.", {"The heart is enlarged."}),
        ("negation", "The heart is normal in size.", {"The heart is enlarged."}),
        ("negation", "Pneumothorax is absent.", {"Pneumothorax is present."}),
        ("negation", "No effusion or nodule.", {"Effusion. No nodule.", "Nodule. No effusion."}),
        ("negation", "There is a small left effusion.", {"There is no left effusion."}),
        ("negation", "Mild cardiomegaly.", {"No cardiomegaly."}),
        ("negation", "The heart is mildly enlarged.", {"The heart is not enlarged."}),
        ("negation", "A nodule is seen in the left lung.", {"No nodule is seen in the left lung."}),
        ("negation", "Right-sided pacemaker in place.", {"No right-sided pacemaker in place."}),
        ("negation", "There is no bronchiectasis.", {"There is bronchiectasis."}),
        ("negation", "There is no metastasis.", {"There is a metastasis."}),
        (
            "negation",
            "No pacemaker. No acute cardiopulmonary abnormality.",
            {"Pacemaker. No acute cardiopulmonary abnormality."},
        ),
        ("negation", "Possible effusion.", set()),
        ("negation", "The effusion has resolved.", set()),
        ("negation", "No change in the effusion.", set()),
        ("negation", "Nil change in the effusion.", set()),
        ("negation", "A 12 mm nodule is seen.", set()),
        ("negation", "Bilateral effusions.", set()),
        ("negation", "No effusion. No acute cardiopulmonary abnormality.", set()),
        ("severity", "Small left effusion.", {"Moderate left effusion.", "Large left effusion."}),
        ("severity", "Severe cardiomegaly.", {"Mild cardiomegaly.", "Moderate cardiomegaly."}),
        (
            "severity",
            "The heart is mildly enlarged.",
            {"The heart is moderately enlarged.", "The heart is severely enlarged."},
        ),
        ("severity", "Small to moderate effusion.", set()),
        ("severity", "Trace pleural fluid.", set()),
        ("severity", "Small left effusion. Large right effusion.", set()),
        ("severity", "Left effusion.", set()),
        ("severity", "Moderate left effusion.", {"Small left effusion.", "Large left effusion."}),
        ("severity", "At least moderate left effusion.", set()),
        ("severity", "Moderate or larger left effusion.", set()),
        ("severity", "Left effusion, at most small.", set()),
        ("severity", "The heart is more than mildly enlarged.", set()),
        ("side", "At least moderate left effusion.", {"At least moderate right effusion."}),
        ("anatomy", "Left upper lobe nodule.", {"Left lower lobe nodule."}),
        ("anatomy", "Right middle lobe nodule.", {"Right upper lobe nodule.", "Right lower lobe nodule."}),
        ("anatomy", "Upper lobe nodule and lower lobe atelectasis.", set()),
        ("anatomy", "RML nodule.", {"RUL nodule.", "RLL nodule."}),
        ("anatomy", "Upper lobe nodule with basal atelectasis.", set()),
        ("anatomy", "Upper lobe edema.", set()),
        ("anatomy", "Left nodule.", set()),
        ("count", "Two nodules are seen.", {f"{n} nodules are seen." for n in ("Three", "Four", "Five", "Six")}),
        (
            "count",
            "A solitary 8 mm nodule is seen in the left lung.",
            {"Two 8 mm nodules are seen in the left lung.", "Three 8 mm nodules are seen in the left lung."},
        ),
        ("count", "2 nodules are seen.", {f"{n} nodules are seen." for n in (3, 4, 5, 6)}),
        ("count", "Left lung has 4 nodules.", {f"Left lung has {n} nodules." for n in (2, 3, 5, 6)}),
        ("count", "A solitary lung opacity is seen.", {f"{n} lung opacities are seen." for n in ("Two", "Three")}),
        ("count", "Multiple nodules.", set()),
        ("count", "At least four nodules are seen.", set()),
        ("count", "Fewer than five nodules.", set()),
        ("count", "No more than three nodules.", set()),
        ("count", "Up to 4 nodules in the left lung.", set()),
        ("count", "Two or more nodules are seen.", set()),
        ("device", "An endotracheal tube is in place.", {"A nasogastric tube is in place."}),
        ("device", "Left-sided central line.", {"Left-sided chest tube.", "Left-sided pacemaker."}),
        ("device", "Central line with tip in the left lung.", {"Chest tube with tip in the left lung."}),
        ("device", "ET tube in place. No NG tube.", set()),
        ("device", "The patient is intubated.", set()),
        ("device", "Pacemaker with ventricular lead.", set()),
        ("device", "No pacemaker.", set()),
        ("device", "ET tube and NG tube in place.", set()),
    ],
)
def test_each_kind_changes_one_fact_grammatically_or_gives_nothing(kind: Kind, text: str, copies: set[str]) -> None:
    assert texts(text, kind) == copies


def test_a_fact_said_twice_is_changed_twice_or_not_at_all() -> None:
    report = "FINDINGS: There is a small left effusion. No nodule.\nIMPRESSION: Left effusion."
    assert texts(report, "side") == {report.replace("left", "right").replace("Left", "Right")}
    unclear = report + " The left effusion has increased since 2019."
    assert {copy.finding for copy in false_copies(unclear, ("negation",))} == {"nodule"}


def test_a_copy_names_what_it_changed() -> None:
    (copy,) = false_copies("Normal heart size. Small left effusion.", ("side",))
    assert (copy.kind, copy.finding, copy.before, copy.after) == ("side", "effusion", "left", "right")
    assert (copy.statement, copy.false_statement) == ("Small left effusion.", "Small right effusion.")


def test_kinds_are_drawn_alike_and_the_same_generator_gives_the_same_copy() -> None:
    text = "Small left upper lobe atelectasis. No effusion. No pneumothorax. No edema. No emphysema."
    drawn = Counter(
        copy.kind for seed in range(300) for copy in hard_negatives(text, torch_generator(seed, 0, "hard_negative"))
    )
    there = {copy.kind for copy in false_copies(text)}
    assert set(drawn) == there
    assert len(there) >= 3
    assert all(abs(count - 300 / len(there)) < 60 for count in drawn.values())
    first, again = (hard_negatives(text, torch_generator(7, 0, "x"), most=3) for _ in range(2))
    assert first == again
    assert len({copy.text for copy in first}) == 3


def test_what_is_possible_on_one_side_is_false_on_the_other_and_one_mass_is_two_masses() -> None:
    assert texts("Possible left effusion.", "side") == {"Possible right effusion."}
    assert "Two masses are seen." in texts("A solitary mass is seen.", "count")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("count", "Two nodules in the left lung. Three nodules in the right lung."),
        ("count", "Two nodules and three masses are seen."),
        ("anatomy", "Left upper lobe mass. Left lower lobe mass."),
        ("severity", "Small left and large right effusions."),
        ("negation", "Left effusion. No effusion on the right."),
    ],
)
def test_what_a_text_says_in_two_ways_has_no_copy(kind: Kind, text: str) -> None:
    assert texts(text, kind) == set()


@pytest.mark.parametrize(
    "sentence",
    [
        "There is an effusion that has increased.",
        "The heart and the aorta are enlarged.",
        "An effusion is seen in the left lung, as before.",
    ],
)
def test_a_sentence_that_says_more_than_one_thing_is_not_denied(sentence: str) -> None:
    assert deny(sentence) is None


def test_of_two_tubes_none_is_another_device() -> None:
    assert change_device("The ET tube is beside another ETT.", "endotracheal_tube", "nasogastric_tube") is None


def test_a_text_without_findings_has_no_copies() -> None:
    for text in ("", "The trachea is midline.", "No."):
        assert false_copies(text) == hard_negatives(text, torch.Generator(), kinds=KINDS, most=5) == ()
