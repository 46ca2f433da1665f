"""The four cases of a finding are those that their words name, whatever ties there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medvlp.evaluation.error_cases import error_cases, hardest_findings

CASES = st.lists(st.tuples(st.sampled_from([0.0, 1.0, -1.0, np.nan]), st.integers(-3, 3)), min_size=1, max_size=30)


@given(CASES)
def test_they_are_the_cases_that_a_loop_finds(cases: list[tuple[float, int]]) -> None:
    labels, scores = np.array([label for label, _ in cases]), np.array([float(score) for _, score in cases])
    present = [score for label, score in cases if label == 1]
    absent = [score for label, score in cases if label == 0]
    found = error_cases(labels, scores)
    if not present or not absent:
        assert found is None
        return
    assert found is not None
    assert (labels[found.hit], scores[found.hit]) == (1, max(present))
    assert (labels[found.miss], scores[found.miss]) == (1, min(present))
    assert (labels[found.false_alarm], scores[found.false_alarm]) == (0, max(absent))

    def undecided(score: float) -> float:
        missed = sum(each < score for each in present) / len(present)
        alarmed = sum(each > score for each in absent) / len(absent)
        return abs(missed - alarmed)

    assert labels[found.unsure] in (0, 1)
    assert np.isclose(undecided(scores[found.unsure]), min(undecided(score) for score in present + absent))


def test_the_hardest_findings_come_first_and_those_of_one_class_not_at_all() -> None:
    labels = {name: np.array([0.0, 0, 1, 1]) for name in "abc"} | {"d": np.array([1.0, 1, np.nan, -1])}
    scores = {"a": np.arange(4.0), "b": -np.arange(4.0), "c": np.ones(4), "d": np.ones(4)}
    assert hardest_findings(labels, scores, count=9) == ["b", "c", "a"]
    assert hardest_findings(labels, scores, count=1) == ["b"]
