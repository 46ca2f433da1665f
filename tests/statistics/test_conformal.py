"""Conformal sets keep their promise for both classes, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.statistics.conformal import fit_sets
from medvlp.statistics.metrics import UndefinedMetricError


def test_coverage_of_either_class_is_what_was_promised() -> None:
    covered = {True: [], False: []}
    for seed in range(300):
        generator = np.random.default_rng([1, seed])
        labels = generator.random(160) < 0.3
        scores = labels + generator.normal(size=160)
        rule = fit_sets(labels[:120], scores[:120], level=0.8)
        held = rule.sets(scores[120:]).covered(labels[120:])
        for truth in (True, False):
            covered[truth] += held[labels[120:] == truth].tolist()
    # Exact promise: 0.8 to 0.8 + 1 / (n + 1) on average, n about 36 positives.
    assert 0.785 <= np.mean(covered[True]) <= 0.845
    assert 0.79 <= np.mean(covered[False]) <= 0.825


def test_the_quantile_is_the_counted_row() -> None:
    # 9 positives at level 0.8: ceil(10 x 0.8) = 8 rows kept, so the one but lowest score is the limit.
    rule = fit_sets([1] * 9 + [0] * 9, [*range(9, 18), *range(9)], level=0.8)
    assert (rule.present_from, rule.absent_to) == (10, 7)
    # The limits belong to the sets: a score that occurs again is covered again.
    assert (rule.sets([9, 10]).present.tolist(), rule.sets([7, 8]).absent.tolist()) == ([False, True], [True, False])


def test_too_few_rows_promise_nothing_and_every_set_holds_the_class() -> None:
    rule = fit_sets([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], range(12), level=0.9)
    assert rule.present_from is None
    assert rule.sets([-100.0]).present.all()
    assert (rule.positives, rule.negatives) == (3, 9)


def test_a_patient_counts_once_however_many_rows_it_has() -> None:
    patients = [0] * 10 + [1] * 10 + list(range(2, 22))
    rule = fit_sets([1] * 20 + [0] * 20, range(40), patients=patients, level=0.9)
    assert rule.present_from is None  # two patients cannot promise nine in ten
    assert rule.absent_to == 38  # of twenty the ceil(21 x 0.9) = 19 lowest are kept
    assert (rule.positives, rule.negatives) == (20, 20)
    # Shares of 1 / 3, a row of the first patient half of it: 0.6 is reached with the second patient's row.
    assert fit_sets([1, 1, 1, 0], [9, 8, 7, 0], patients=list("abaa"), level=0.5).present_from == 8


def test_new_patients_are_covered_where_the_rows_of_each_are_alike() -> None:
    covered = []
    for seed in range(400):
        generator = np.random.default_rng([2, seed])
        patient = np.repeat(np.arange(40), 8)
        labels = patient < 20
        scores = generator.normal(size=40)[patient] + 0.3 * generator.normal(size=320)
        rule = fit_sets(labels, scores, patients=patient, level=0.9)
        new = generator.normal(size=200) + 0.3 * generator.normal(size=200)
        covered += [rule.sets(new).present.mean(), rule.sets(new).absent.mean()]
    assert 0.9 <= np.mean(covered) <= 0.95


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [3, 9, 10, 19, 57])
def test_with_one_row_a_patient_the_counted_row_is_the_limit(n: int, level: float) -> None:
    scores = np.random.default_rng(n).normal(size=2 * n)
    rank = int(np.ceil((n + 1) * level - 1e-9))
    limits = (None, None) if rank > n else (np.sort(scores[:n])[n - rank], np.sort(scores[n:])[rank - 1])
    labels = np.arange(2 * n) < n
    for patients in (None, np.random.default_rng(0).permutation(2 * n)):
        rule = fit_sets(labels, scores, patients=patients, level=level)
        assert (rule.present_from, rule.absent_to) == limits


def test_sets_abstain_where_they_hold_both_or_none() -> None:
    rule = fit_sets([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.8, 0.9], level=0.7)
    sets = rule.sets([0.3, 0.55, 0.7])
    assert sets.answered.tolist() == [True, False, True]
    assert sets.correct(np.array([True, True, True])).tolist() == [False, False, True]
    apart = fit_sets([0] * 9 + [1] * 9, [*range(9), *range(20, 29)], level=0.5)
    assert apart.sets([14.0]).size.tolist() == [0]


def test_what_cannot_be_promised_is_refused() -> None:
    with pytest.raises(DataError, match="A coverage of 1 cannot be promised"):
        fit_sets([0, 1], [0.1, 0.2], level=1.0)
    with pytest.raises(UndefinedMetricError, match="hold no positives"):
        fit_sets([0, 0], [0.1, 0.2])
    with pytest.raises(DataError, match=r"Patients have shape \(1,\), labels have 2 rows"):
        fit_sets([0, 1], [0.1, 0.2], patients=["a"])
