"""The bootstrap by weights is the bootstrap by copying patients, and its interval covers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import (
    Clusters,
    Interval,
    bootstrap,
    patient_clusters,
    percentile_interval,
    resample_patients,
)
from medvlp.statistics.intervals import bca_interval, logit_interval
from medvlp.statistics.ranked import rank_rows


def _cohort(generator: np.random.Generator, patients: int, positive: float, shift: float):
    """Return labels, scores and patients: 1 to 8 images each, one label a patient, scores alike within a patient."""
    images = generator.integers(1, 9, patients)
    patient = np.repeat(np.arange(patients), images)
    label = (generator.random(patients) < positive)[patient]
    own = generator.normal(size=patients)[patient] * np.sqrt(0.6)
    return label, shift * label + own + generator.normal(size=len(patient)) * np.sqrt(0.4), patient


def _draws(label: np.ndarray, scores: np.ndarray, clusters: Clusters, resamples: int, seed: int) -> np.ndarray:
    ranked = rank_rows(label, scores, clusters.patient)
    return bootstrap(
        lambda weights: ranked.draws(weights.T.astype(np.int32)),
        clusters,
        resamples=resamples,
        seed=seed,
        height=len(label),
    )


def test_equals_a_loop_that_copies_the_rows_of_drawn_patients() -> None:
    generator = np.random.default_rng(1)
    label, scores, patient = _cohort(generator, 40, 0.4, 1.0)
    scores = np.round(scores, 1)  # ties
    clusters = patient_clusters(patient, label)
    fast = _draws(label, scores, clusters, 60, seed=5)
    weights = resample_patients(clusters, start=0, stop=60, seed=5)
    for resample in range(60):
        drawn = np.repeat(np.arange(clusters.patients), weights[:, resample].astype(int))
        rows = np.concatenate([np.flatnonzero(clusters.patient == p) for p in drawn])
        assert fast[resample, 0] == pytest.approx(roc_auc_score(label[rows], scores[rows]), abs=1e-12)
        assert fast[resample, 1] == pytest.approx(average_precision_score(label[rows], scores[rows]), abs=1e-12)


def test_a_resample_keeps_the_number_of_patients_in_each_stratum() -> None:
    clusters = patient_clusters(np.arange(50), np.arange(50) < 7)
    weights = resample_patients(clusters, start=0, stop=30, seed=0)
    assert (weights[:7].sum(axis=0) == 7).all()
    assert (weights[7:].sum(axis=0) == 43).all()


def test_draws_are_patients_with_equal_chance() -> None:
    weights = resample_patients(patient_clusters(np.arange(20)), start=0, stop=4000, seed=2)
    # A count is Binomial(20, 1/20): mean 1, variance 0.95; the mean of 4000 has a standard error of 0.0154.
    assert np.abs(weights.mean(axis=1) - 1).max() < 4 * 0.0154
    assert weights.var() == pytest.approx(0.95, abs=0.03)


def test_a_resample_is_a_function_of_seed_and_number_alone() -> None:
    generator = np.random.default_rng(3)
    label, scores, patient = _cohort(generator, 30, 0.5, 1.0)
    clusters = patient_clusters(patient, label)
    long, short = (_draws(label, scores, clusters, resamples, seed=1) for resamples in (300, 40))
    assert np.array_equal(long[:40], short)
    part = resample_patients(clusters, start=17, stop=19, seed=1)
    assert np.array_equal(part, resample_patients(clusters, start=0, stop=30, seed=1)[:, 17:19])
    assert not np.array_equal(short, _draws(label, scores, clusters, 40, seed=2))


def test_undefined_resamples_are_left_out_and_counted() -> None:
    interval = percentile_interval(np.array([np.nan, 1.0, 2.0, 3.0]), level=0.5)
    assert (interval.used, interval.skipped) == (3, 1)
    for defined, low in ((50, 1.0), (49, None)):  # of half the resamples there is one, of fewer not
        assert percentile_interval(np.repeat([1.0, np.nan], [defined, 50])).low == low
    # Three patients, one of them positive, no strata: the positive one is missed in (2/3)^3 of the resamples.
    clusters = patient_clusters(np.arange(3))
    draws = _draws(np.array([True, False, False]), np.array([1.0, 0.0, 2.0]), clusters, 2000, seed=0)[:, 0]
    missing = (2 / 3) ** 3 + (1 / 3) ** 3  # no positive drawn, or only positives
    assert np.isnan(draws).mean() == pytest.approx(missing, abs=0.04)


@pytest.mark.parametrize(("level", "least"), [(0.5, 3), (0.9, 19), (0.95, 39), (0.99, 199)])
@pytest.mark.parametrize(
    "made",
    [percentile_interval, partial(bca_interval, value=0.5, acceleration=0.0), partial(logit_interval, value=0.5)],
)
def test_no_limit_lies_beyond_the_outermost_draw(made: Callable[..., Interval], level: float, least: int) -> None:
    """The k-th of B draws stands for the quantile k / (B + 1): that of a limit is (1 - level) / 2, and k at least 1."""
    draws = np.linspace(0.4, 0.6, least)
    assert made(draws, level=level).low is not None
    assert made(draws[1:], level=level).low is None


def test_no_patients_or_no_resamples_is_refused() -> None:
    with pytest.raises(DataError, match="A bootstrap of 0 patients with 10 resamples gives nothing"):
        bootstrap(lambda w: w.T, patient_clusters(np.array([], dtype=int)), resamples=10, seed=0)
    with pytest.raises(DataError, match="with 0 resamples"):
        bootstrap(lambda w: w.T, patient_clusters(np.arange(2)), resamples=0, seed=0)


@pytest.mark.slow
def test_patient_intervals_cover_where_image_intervals_do_not() -> None:
    """200 cohorts of 160 patients with 1 to 8 images: the true AUROC of the binormal model is Phi(shift / sqrt 2)."""
    shift, covered = 1.2, {"patient": 0, "image": 0}
    truth = norm.cdf(shift / np.sqrt(2))
    generator = np.random.default_rng(20240612)
    for simulation in range(200):
        label, scores, patient = _cohort(generator, 160, 0.45, shift)
        for kind, unit in (("patient", patient), ("image", np.arange(len(patient)))):
            draws = _draws(label, scores, patient_clusters(unit, label), 400, seed=simulation)[:, 0]
            interval = percentile_interval(draws)
            assert interval.low is not None
            assert interval.high is not None
            covered[kind] += interval.low <= truth <= interval.high
    # Nominal 0.95; the standard error of a share of 200 is 0.015.
    assert 0.905 <= covered["patient"] / 200 <= 0.99
    assert covered["image"] / 200 <= 0.85
