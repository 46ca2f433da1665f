"""Intervals of shares are what their equations say; images of one patient count for less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

from medvlp.core.errors import DataError
from medvlp.statistics.holm import holm
from medvlp.statistics.predictive_values import predictive_values
from medvlp.statistics.proportions import Share, clopper_pearson, share_of, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 7), (1, 7), (3, 20), (19, 20), (20, 20), (450, 1000)])
def test_both_intervals_solve_their_equations(k: int, n: int) -> None:
    score, exact, z = wilson(k, n), clopper_pearson(k, n), norm.ppf(0.975)
    for limit in (score.low, score.high):
        if 0 < limit < 1:
            assert abs(k / n - limit) == pytest.approx(z * np.sqrt(limit * (1 - limit) / n), abs=1e-12)
    if k:
        assert binom.sf(k - 1, n, exact.low) == pytest.approx(0.025, abs=1e-9)
    if k < n:
        assert binom.cdf(k, n, exact.high) == pytest.approx(0.025, abs=1e-9)
    assert (score.low == 0.0) == (exact.low == 0.0) == (k == 0)
    assert (score.high == 1.0) == (exact.high == 1.0) == (k == n)


def test_clopper_pearson_never_covers_less_than_it_says() -> None:
    intervals = [clopper_pearson(k, 25) for k in range(26)]
    for truth in np.linspace(0.01, 0.99, 99):
        held = sum(binom.pmf(k, 25, truth) for k, each in enumerate(intervals) if each.low <= truth <= each.high)
        assert held >= 0.95 - 1e-12


def test_one_image_a_patient_counts_in_full() -> None:
    share = share_of([True, False, True], [2, 0, 1])
    assert (share.value, share.n, share.effective, share.clustered) == (2 / 3, 3, 3.0, False)


def test_copies_of_a_patient_count_about_once() -> None:
    hit = np.arange(200) % 3 == 0
    share = share_of(np.repeat(hit, 4), np.repeat(np.arange(200), 4))
    assert share.value == pytest.approx(hit.mean())
    assert share.effective == pytest.approx(200, rel=0.02)
    assert share_of(np.ones(40, bool), np.repeat(np.arange(10), 4)).effective == 10  # no spread to estimate from


def test_independent_images_count_nearly_in_full_and_never_more() -> None:
    generator = np.random.default_rng(0)
    share = share_of(generator.random(3000) < 0.4, np.repeat(np.arange(1000), 3))
    assert 2400 < share.effective <= 3000


def test_the_intervals_of_a_share_count_effective_rows_at_the_level_asked_for() -> None:
    share = Share(0.3, n=100, patients=20, effective=20.0)
    assert share.wilson(level=0.8) == wilson(6, 20, level=0.8)
    limit, z = share.wilson(level=0.8).low, norm.ppf(0.9)
    assert 0.3 - limit == pytest.approx(z * np.sqrt(limit * (1 - limit) / 20), abs=1e-12)
    assert binom.sf(5, 20, clopper_pearson(6, 20, level=0.8).low) == pytest.approx(0.1, abs=1e-9)


def test_no_rows_have_no_share() -> None:
    share = share_of([], [])
    assert (share.value, share.wilson().low) == (None, None)
    with pytest.raises(DataError, match="3 of 2 is no share"):
        wilson(3, 2)
    with pytest.raises(DataError, match="0 of 0 is no share"):
        clopper_pearson(0, 0)


def test_predictive_values_are_bayes_rule_and_those_of_a_cohort_of_that_prevalence() -> None:
    sensitivity, specificity = Share(0.8, 90, 60, 50.0), Share(0.9, 500, 300, 200.0)
    found = predictive_values(sensitivity, specificity, prevalence=0.2)
    assert found.ppv == pytest.approx(0.8 * 0.2 / (0.8 * 0.2 + 0.1 * 0.8))
    assert found.npv == pytest.approx(0.9 * 0.8 / (0.9 * 0.8 + 0.2 * 0.2))
    # Mercaldo et al.: logit of PPV with variance (1 - sens) / (sens n1) + spec / ((1 - spec) n0), and of NPV with
    # sens / ((1 - sens) n1) + (1 - spec) / (spec n0); n1 and n0 are effective numbers.
    of_ppv = np.sqrt(0.2 / (0.8 * 50) + 0.9 / (0.1 * 200))
    of_npv = np.sqrt(0.8 / (0.2 * 50) + 0.1 / (0.9 * 200))
    for value, around, error in ((found.ppv, found.ppv_interval, of_ppv), (found.npv, found.npv_interval, of_npv)):
        logits = [np.log(x / (1 - x)) for x in (around.low, value, around.high)]
        assert [logits[0], logits[2]] == pytest.approx([logits[1] - 1.96 * error, logits[1] + 1.96 * error], abs=1e-3)


def test_a_perfect_specificity_still_leaves_doubt() -> None:
    found = predictive_values(Share(0.8, 50, 50, 50.0), Share(1.0, 40, 40, 40.0), prevalence=0.01)
    assert found.ppv == 1.0
    assert found.ppv_interval.low is not None
    # The logit of 1 with z^2 / 2 successes and failures added, as an Agresti-Coull interval has them.
    square = norm.ppf(0.975) ** 2
    n = 40 + square
    soft = (40 + square / 2) / n
    error = np.sqrt(0.2 / (0.8 * 50) + soft / ((1 - soft) * n))
    centre = np.log(0.8 / (1 - soft) * 0.01 / 0.99)
    assert found.ppv_interval.low == pytest.approx(expit(centre - np.sqrt(square) * error))
    nothing = predictive_values(Share(0.0, 5, 5, 5.0), Share(1.0, 40, 40, 40.0), prevalence=0.01)
    assert (nothing.ppv, nothing.ppv_interval.low) == (None, None)
    with pytest.raises(DataError, match="A prevalence of 1 has no predictive values"):
        predictive_values(Share(0.8, 5, 5, 5.0), Share(0.8, 5, 5, 5.0), prevalence=1.0)


@pytest.mark.parametrize("prevalence", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("specificity", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sensitivity", [0.0, 0.3, 1.0])
def test_a_predictive_value_lies_in_its_interval(sensitivity: float, specificity: float, prevalence: float) -> None:
    shares = Share(sensitivity, 10, 10, 10.0), Share(specificity, 10, 10, 10.0)
    found = predictive_values(*shares, prevalence=prevalence)
    for value, interval in ((found.ppv, found.ppv_interval), (found.npv, found.npv_interval)):
        assert (value is None) == (interval.low is None) == (interval.high is None)
        if value is not None:
            assert 0 <= interval.low <= value <= interval.high <= 1
            assert interval.high - interval.low > 0.001


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.6, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []
    with pytest.raises(DataError, match=r"1\.5 is no p value"):
        holm([1.5])


def test_holm_rejects_by_its_step_down_rule() -> None:
    generator = np.random.default_rng(1)
    for _ in range(200):
        p = generator.beta(0.4, 2, size=8)
        rejected = np.array(holm(p.tolist())) <= 0.05
        expected = np.zeros(8, bool)
        for rank, at in enumerate(np.argsort(p)):
            if p[at] > 0.05 / (8 - rank):
                break
            expected[at] = True
        assert (rejected == expected).all()
