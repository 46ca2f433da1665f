"""False grades are drawn so that no word tells true from false."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
import torch

from medvlp.core.randomness import torch_generator
from medvlp.text.hard_negatives import grade_shares, misgraded
from medvlp.text.hard_negatives.copies import FalseCopy, hard_negatives
from medvlp.text.hard_negatives.wording import GradeWord, as_grade_word, change_severity, grade_word
from tests.text.reading import denied_by_truth, more_than_the_fact, phantom_reports

COUNT, DRAWS = 80, 50
# Half of all effusions are small; "large" is rare, and "trace" is a word that canonical copies never say.
TEXTS = (
    ["Small left effusion."] * 4
    + ["Trace left effusion."] * 2
    + ["Moderate left effusion."] * 4
    + ["Large left effusion."] * 2
)


@cache
def drawn() -> list[FalseCopy]:
    shares = grade_shares(TEXTS)
    places = [(place, text) for place in range(200) for text in TEXTS]
    made = [misgraded(text, torch_generator(3, n, "x"), shares) for n, (_, text) in enumerate(places)]
    return [copy for copy in made if copy is not None]


def words_of(copies: list[FalseCopy]) -> tuple[Counter[str], Counter[str]]:
    """Words of grade in the true sentences, and in the false ones."""
    found = [[grade_word(s, c.finding) for s in (c.statement, c.false_statement)] for c in copies]
    return tuple(Counter(pair[k].word for pair in found if pair[k] is not None) for k in (0, 1))  # type: ignore[return-value]


def auroc_of_words(copies: list[FalseCopy]) -> float:
    """How well the odds of a finding's words, learnt from one half of the draws, tell true from false in the other."""
    odds: Counter[tuple[str, str]] = Counter()
    for copy in copies[::2]:
        for sentence, sign in ((copy.statement, 1), (copy.false_statement, -1)):
            odds[copy.finding, said(sentence, copy.finding)] += sign
    rest = copies[1::2]
    true = torch.tensor([odds[c.finding, said(c.statement, c.finding)] for c in rest])
    false = torch.tensor([odds[c.finding, said(c.false_statement, c.finding)] for c in rest])
    above = (true[:, None] > false).double() + 0.5 * (true[:, None] == false).double()
    return above.mean().item()


def said(sentence: str, finding: str) -> str:
    word = grade_word(sentence, finding)
    assert word is not None
    return word.word


def test_each_word_is_said_as_often_truly_as_falsely_and_each_change_as_often_as_its_reverse() -> None:
    copies = drawn()
    true, false = words_of(copies)
    assert set(true) == set(false) == {"small", "trace", "moderate", "large"}
    for word in true:  # P(word | true) = P(word | false), within the noise of the draws (3 standard errors)
        assert abs(true[word] - false[word]) < 3 * (true[word] + false[word]) ** 0.5, word
    ways = Counter((copy.before, copy.after) for copy in copies)
    for (before, after), count in ways.items():
        assert abs(count - ways[after, before]) < 3 * (2 * count) ** 0.5
    # n(w) n(w') / N of the 12 texts: 6 mild, 4 moderate and 2 severe.
    expected = {("mild", "moderate"): 6 * 4 / 12, ("mild", "severe"): 1.0, ("moderate", "severe"): 8 / 12}
    for way, rate in expected.items():
        assert ways[way] / 200 == pytest.approx(rate, rel=0.2), way


def test_words_tell_a_drawn_other_grade_but_not_a_misgraded_one() -> None:
    """The text-only control: .5 where the kind `severity` of `hard_negatives` gives much away."""
    many = [text for _ in range(50) for text in TEXTS]
    before = [c for n, t in enumerate(many) for c in hard_negatives(t, torch_generator(1, n, "x"), kinds=("severity",))]
    assert auroc_of_words(before) > 0.6
    assert abs(auroc_of_words(drawn()) - 0.5) < 0.03


def test_on_phantom_reports_only_the_grade_is_changed_it_was_true_and_words_give_nothing_away() -> None:
    reports = phantom_reports(1000)[:COUNT]
    shares = grade_shares(report.text for report in reports)
    copies: list[FalseCopy] = []
    for place, report in enumerate(reports):
        for n in range(DRAWS):
            copy = misgraded(report.text, torch_generator(2, place * DRAWS + n, "x"), shares)
            if copy is not None:
                copies.append(copy)
                if n < 2:
                    assert more_than_the_fact(report.text, copy) == ""
                    assert denied_by_truth(report, copy), copy
    assert len(copies) > COUNT
    assert {copy.finding for copy in copies} >= {"effusion", "pneumothorax", "cardiomegaly", "edema"}
    assert abs(auroc_of_words(copies) - 0.5) < 0.03


def test_a_text_counts_once_however_many_findings_it_grades_and_what_cannot_be_changed_not_at_all() -> None:
    shares = grade_shares(["Small effusion. Mild edema.", "Large effusion.", "Small to moderate effusion.", "Clear."])
    assert shares == {"edema": {"mild": 0.5}, "effusion": {"large": 1.0, "small": 0.5}}
    assert misgraded("Clear.", torch.Generator(), shares) is None
    assert misgraded("Moderate pneumothorax.", torch.Generator(), shares) is None  # nobody said how often
    generator = torch.Generator().manual_seed(0)
    drawn = {copy.finding for _ in range(60) if (copy := misgraded("Small effusion. Mild edema.", generator, shares))}
    assert drawn == {"effusion"}  # edema is never said otherwise


def test_a_word_of_another_class_is_drawn_for_none() -> None:
    draw = torch.Generator().manual_seed(0)
    assert [misgraded("Mild edema.", draw, {"edema": {"severely": 1.0}}) for _ in range(3)] == [None] * 3


def test_a_word_takes_the_place_of_its_own_class_and_the_article_follows() -> None:
    assert as_grade_word("minimal", "effusion") == GradeWord("minimal", "mild", "size")
    assert as_grade_word("minimal", "edema") == GradeWord("minimal", "mild", "degree")
    assert as_grade_word("left", "edema") is None
    changes = (
        ("The heart is mildly enlarged.", "cardiomegaly", "severe", "markedly", "The heart is markedly enlarged."),
        ("The heart is mildly enlarged.", "cardiomegaly", "severe", "marked", "The heart is severely enlarged."),
        ("There is a mild emphysema.", "emphysema", "severe", "advanced", "There is an advanced emphysema."),
        ("There is an advanced emphysema.", "emphysema", "mild", "", "There is a mild emphysema."),
    )
    for sentence, finding, grade, word, expected in changes:
        assert change_severity(sentence, finding, grade, word) == expected
    for before, after in pairwise(("Tiny effusion.", "Massive effusion.", "Trace effusion.")):
        word = grade_word(after, "effusion")
        assert word is not None
        assert change_severity(before, "effusion", word.grade, word.word) == after
