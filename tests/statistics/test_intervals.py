"""Influences are derivatives; intervals are their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import ConfigError
from medvlp.statistics.bootstrap import patient_clusters, percentile_interval
from medvlp.statistics.delong import delong
from medvlp.statistics.influence import acceleration, by_patient, centred, influence_rows
from medvlp.statistics.intervals import bca_interval, check_form, logit_interval, recentred_interval


def _rows(n: int = 60, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    return labels, np.round(labels + generator.normal(size=n), 1)


def test_an_influence_is_the_derivative_in_a_row_weight() -> None:
    labels, scores = _rows()
    influence = influence_rows(labels, scores)
    for row in range(len(labels)):
        up, down = np.ones(len(labels)), np.ones(len(labels))
        up[row], down[row] = 1 + 1e-5, 1 - 1e-5
        for column, metric in enumerate((roc_auc_score, average_precision_score)):
            above, below = (metric(labels, scores, sample_weight=weights) for weights in (up, down))
            slope = (above - below) / 2e-5
            assert influence[row, column] == pytest.approx(slope, abs=1e-7)


def test_influences_sum_to_nothing_because_weights_have_no_unit() -> None:
    assert influence_rows(*_rows()).sum(axis=0) == pytest.approx([0, 0], abs=1e-12)


def test_the_infinitesimal_jackknife_is_delongs_variance_in_large_cohorts() -> None:
    generator = np.random.default_rng(1)
    patient = generator.integers(0, 1500, 4000)
    labels = (generator.random(1500) < 0.3)[patient]
    scores = labels + generator.normal(size=1500)[patient] + generator.normal(size=4000)
    moved = by_patient(influence_rows(labels, scores)[:, :1], patient, 1500)
    clustered = delong(labels, scores, patient).covariance[0, 0]
    assert float((moved**2).sum()) == pytest.approx(clustered, rel=0.005)
    # Images taken for patients: the variance comes out too small.
    assert delong(labels, scores).covariance[0, 0] < 0.8 * clustered


def test_bca_is_efrons_formula() -> None:
    generator = np.random.default_rng(2)
    draws = generator.gamma(3.0, size=5000)
    value, speed = 2.8, 0.05
    bias = norm.ppf((draws < value).mean())
    places = [norm.cdf(bias + (bias + z) / (1 - speed * (bias + z))) for z in (norm.ppf(0.025), norm.ppf(0.975))]
    found = bca_interval(draws, value=value, acceleration=speed)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, places), abs=1e-12)


def test_bca_without_bias_and_skew_is_the_percentile_interval() -> None:
    draws = np.linspace(-1, 1, 2001)
    plain, bca = percentile_interval(draws), bca_interval(draws, value=0.0, acceleration=0.0)
    assert (bca.low, bca.high) == pytest.approx((plain.low, plain.high), abs=1e-9)
    one_sided = bca_interval(draws, value=2.0, acceleration=0.0)
    assert (one_sided.low, one_sided.high) == (plain.low, plain.high)


def test_the_acceleration_of_a_mean_is_a_sixth_of_its_skewness() -> None:
    values = np.random.default_rng(3).exponential(size=400)
    off = values - values.mean()
    skewness = (off**3).mean() / (off**2).mean() ** 1.5
    found = acceleration(off / 400, patient_clusters(np.arange(400)))
    assert found == pytest.approx(skewness / 6 / np.sqrt(400), rel=1e-9)


def test_strata_keep_their_sizes_so_influences_are_centred_within() -> None:
    clusters = patient_clusters(np.arange(4), [True, True, False, False])
    assert centred(np.array([1.0, 3.0, 10.0, 30.0]), clusters).tolist() == [-1, 1, -10, 10]


def test_the_logit_interval_stays_between_0_and_1() -> None:
    draws = 0.98 + 0.02 * np.random.default_rng(4).normal(size=1000)
    found = logit_interval(draws, value=0.98)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.98 < found.high < 1
    at_the_end = logit_interval(np.array([0.9, 1.0, 1.0] * 20), value=1.0)
    assert at_the_end.high == 1.0


def test_few_patients_widen_the_logit_interval_by_students_quantile() -> None:
    draws = 0.8 + 0.02 * np.random.default_rng(5).normal(size=500)
    many, few = (logit_interval(draws, value=0.8, patients=patients) for patients in (None, 13))
    reach = [np.log(each.high / (1 - each.high)) - np.log(4) for each in (many, few)]
    assert reach[1] / reach[0] == pytest.approx(student.ppf(0.975, 12) / norm.ppf(0.975) * np.sqrt(13 / 12))


def test_draws_that_lie_too_high_are_moved_to_the_estimate() -> None:
    draws = np.array([0.04, 0.05, 0.06])
    found = recentred_interval(draws, value=0.01, level=0.5)
    assert (found.low, found.high) == pytest.approx((0.005, 0.015))
    assert recentred_interval(draws, value=0.0, level=0.5).low == 0.0
    below = recentred_interval(draws, value=-2.0, level=0.5)  # a logarithm has no floor
    assert (below.low, below.high) == pytest.approx((-2.005, -1.995))


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no interval 'wald': choose one of percentile, bca, logit"):
        check_form("wald")
