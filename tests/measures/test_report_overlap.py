"""Words in common, and pictures that reports find."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medvlp.measures.written_reports import finds_own, rouge_l


def longest_common(one: list[str], other: list[str]) -> int:
    """By every subsequence of the first."""
    for size in range(len(one), 0, -1):
        for words in combinations(one, size):
            rest = iter(other)
            if all(any(word == each for each in rest) for word in words):
                return size
    return 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("small left pleural effusion", "large right pleural effusion is seen"),
        ("no effusion no nodule", "no nodule no effusion"),
        ("a b a b c a", "b a c b a b"),
        ("Clear lungs.", "clear lungs"),
        ("nodule", "effusion"),
    ],
)
def test_rouge_is_the_f1_of_the_longest_common_subsequence(one: str, other: str) -> None:
    words = [text.lower().replace(".", "").split() for text in (one, other)]
    length = longest_common(*words)
    precision, recall = length / len(words[1]), length / len(words[0])
    expected = 2 * precision * recall / (precision + recall) if length else 0.0
    assert rouge_l(one, other) == pytest.approx(expected, rel=1e-12)
    assert rouge_l(one, other) == rouge_l(other, one)


def test_a_denial_has_nearly_all_words_in_common_with_what_it_denies() -> None:
    """Why findings are read back and words are only counted beside them."""
    assert rouge_l("there is a pleural effusion on the left", "there is no pleural effusion on the left") == 0.875
    assert rouge_l("", "left effusion") == 0.0


def test_a_report_finds_its_picture_among_those_of_other_patients() -> None:
    draw = np.random.default_rng(0)
    reports, pictures = (draw.normal(size=(30, 4)) for _ in range(2))
    patients = [f"p{i // 3}" for i in range(30)]
    got = finds_own(reports, pictures, patients, k=3)
    for i in range(30):
        near = sorted(
            (j for j in range(30) if j == i or patients[j] != patients[i]), key=lambda j: -reports[i] @ pictures[j]
        )
        assert got[i] == float(i in near[:3])
    same = np.ones((30, 4))  # one report for everybody, pictures all alike: nobody is found
    assert finds_own(same, same, patients, k=3).sum() == 0


def test_equal_pictures_are_as_near_wherever_they_stand() -> None:
    generator = np.random.default_rng(0)
    reports, one = generator.normal(size=(1025, 512)), generator.normal(size=512)  # the last block is one row
    assert finds_own(reports, np.tile(one, (1025, 1)), [str(row) for row in range(1025)], k=5).sum() == 0


def test_many_reports_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(1)
    reports, pictures = draws.integers(-2, 3, (2, 50, 4)).astype(float)  # products are exact, and often equal
    patients = draws.integers(0, 12, 50).astype(str).tolist()
    whole = finds_own(reports, pictures, patients, k=5)
    assert 0 < whole.sum() < 50
    monkeypatch.setattr("medvlp.measures.written_reports._BLOCK_ROWS", 16)
    assert finds_own(reports, pictures, patients, k=5).tolist() == whole.tolist()
