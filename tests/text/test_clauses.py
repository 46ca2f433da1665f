from __future__ import annotations

import pytest

from medvlp.text.mentions import read_report
from medvlp.text.sections import split_sections
from medvlp.text.sentences import split_clauses, split_sentences
from tests.text.reading import numbers, phantom_reports, sides


@pytest.mark.parametrize(
    ("sentence", "clauses"),
    [
        ("No effusion or pneumothorax.", ["No effusion.", "No pneumothorax."]),
        ("No effusion, nodule, or mass.", ["No effusion.", "No nodule.", "No mass."]),
        (
            "There is no effusion, edema or nodule.",
            ["There is no effusion.", "There is no edema.", "There is no nodule."],
        ),
        ("No evidence of effusion or nodule.", ["No evidence of effusion.", "No evidence of nodule."]),
        ("No effusion or nodules are seen.", ["No effusion is seen.", "No nodules are seen."]),
        ("No effusion and no edema.", ["No effusion.", "No edema."]),
        ("Neither effusion nor edema is identified.", ["No effusion is identified.", "No edema is identified."]),
        ("Effusion, edema and nodule are absent.", ["No effusion.", "No edema.", "No nodule."]),
        ("No acute fracture or effusion.", ["No acute fracture.", "No acute effusion."]),
        ("No left effusion or nodule.", ["No left effusion.", "No left nodule."]),
        ("No acute pulmonary edema or pneumonia.", ["No acute pulmonary edema.", "No acute pneumonia."]),
        ("No pulmonary nodule or mass.", ["No pulmonary nodule.", "No pulmonary mass."]),
        ("There is no effusion, and there is no nodule.", ["There is no effusion.", "There is no nodule."]),
        ("Lungs are clear, no effusion.", ["Lungs are clear.", "No effusion."]),
        ("The heart is large; no edema.", ["The heart is large.", "No edema."]),
        ("Left effusion but no pneumothorax.", ["Left effusion.", "No pneumothorax."]),
        ("Drain on the left, no effusion.", ["Drain on the left.", "No effusion."]),
    ],
)
def test_what_is_said_in_one_breath_is_said_alone(sentence: str, clauses: list[str]) -> None:
    assert split_clauses(sentence) == clauses


@pytest.mark.parametrize(
    "sentence",
    [
        "Left effusion.",
        "Effusion and edema.",
        "No effusion.",
        "No change in the effusion or edema.",
        "No pleural effusion or thickening.",
        "No hilar or mediastinal adenopathy.",
        "No acute cardiac or pulmonary abnormality.",
        "No new or enlarging nodules.",
        "No acute or displaced fracture.",
        "No effusion or fracture of the left ribs.",
        "No opacity to suggest pneumonia or edema.",
        "Increased effusion or collapse.",
        "Is there no effusion or nodule?",
        "Effusion without edema or nodule.",
        "A left but no right pneumothorax.",  # the left one has its name behind the right one
        "Right basilar, and no left basilar atelectasis.",
        "Left effusion but no right.",
        "Left effusion; none on the right.",
        "Left effusion and there is a small one on the right.",
        "",
    ],
)
def test_what_cannot_be_taken_apart_safely_stays_whole(sentence: str) -> None:
    assert split_clauses(sentence) == [sentence]


def test_a_sentence_without_an_end_is_read_once_and_not_for_each_of_its_ands() -> None:
    for words in ("effusion and ", "and no "):  # tried for each they took hours
        long = words * 200_000
        assert split_clauses(long) == [" ".join(long.split())]


def test_clauses_of_phantom_reports_say_what_the_sentence_says_and_nothing_untrue() -> None:
    taken_apart = 0
    for report in phantom_reports(1000)[:300]:
        true = {(triplet.observation, triplet.presence) for triplet in report.triplets}
        for body in split_sections(report.text).values():
            for sentence in split_sentences(body):
                clauses = split_clauses(sentence)
                if len(clauses) == 1:
                    continue
                taken_apart += 1
                whole = {(m.finding, m.presence) for m in read_report(sentence)}
                said = {(m.finding, m.presence) for each in clauses for m in read_report(each)}
                assert whole <= said, sentence
                assert said - whole <= true, sentence
                assert sum(map(numbers, clauses), numbers("")) == numbers(sentence)
                assert set(sum(map(sides, clauses), sides(""))) == set(sides(sentence))
    assert taken_apart > 150
