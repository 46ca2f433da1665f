"""DeLong's and Obuchowski's variances against their double sums, and the test's size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest
from scipy.stats import t as student

from medvlp.core.errors import DataError
from medvlp.statistics.delong import compare_areas, delong, delong_interval
from medvlp.statistics.metrics import UndefinedMetricError, auroc


def _by_hand(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return areas and covariance by loops over pairs and patients (Obuchowski 1997, equations 2 to 6)."""
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    m, n = len(positive), len(negative)
    areas, first, second = [], [], []
    for score in scores.T:
        psi = np.array([[np.sign(score[i] - score[j]) / 2 + 0.5 for j in negative] for i in positive])
        areas.append(psi.mean())
        first.append(psi.mean(axis=1) - areas[-1])
        second.append(psi.mean(axis=0) - areas[-1])
    every = sorted(set(patients))
    with_positive = [p for p in every if p in patients[positive]]
    with_negative = [p for p in every if p in patients[negative]]

    def sums(values: np.ndarray, rows: np.ndarray, patient: int) -> float:
        return values[patients[rows] == patient].sum()

    covariance = np.zeros((len(areas), len(areas)))
    for a in range(len(areas)):
        for b in range(len(areas)):
            s10 = sum(sums(first[a], positive, p) * sums(first[b], positive, p) for p in with_positive)
            s10 *= len(with_positive) / ((len(with_positive) - 1) * m)
            s01 = sum(sums(second[a], negative, p) * sums(second[b], negative, p) for p in with_negative)
            s01 *= len(with_negative) / ((len(with_negative) - 1) * n)
            cross = sum(
                sums(first[a], positive, p) * sums(second[b], negative, p)
                + sums(first[b], positive, p) * sums(second[a], negative, p)
                for p in every
            )
            cross *= len(every) / (len(every) - 1)
            covariance[a, b] = s10 / m + s01 / n + cross / (m * n)
    return areas, covariance


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_sums_over_pairs_and_patients(seed: int) -> None:
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, 15, 40)
    labels = generator.random(40) < 0.4
    scores = np.round(labels[:, None] + generator.normal(size=(40, 2)), 1)
    areas, covariance = _by_hand(labels, scores, patients)
    found = delong(labels, scores, patients)
    assert found.value == pytest.approx(areas, abs=1e-12)
    assert found.value == pytest.approx([auroc(labels, column) for column in scores.T], abs=1e-12)
    assert found.covariance == pytest.approx(covariance, abs=1e-12)


def test_with_one_row_a_patient_it_is_delong() -> None:
    generator = np.random.default_rng(9)
    labels = generator.random(50) < 0.5
    scores = labels + generator.normal(size=50)
    psi = (np.sign(scores[labels][:, None] - scores[~labels]) + 1) / 2
    variance = psi.mean(1).var(ddof=1) / labels.sum() + psi.mean(0).var(ddof=1) / (~labels).sum()
    assert delong(labels, scores).covariance[0, 0] == pytest.approx(variance, abs=1e-12)
    assert delong(labels, scores, np.arange(50)).covariance[0, 0] == pytest.approx(variance, abs=1e-12)


def test_writing_every_image_twice_adds_no_information() -> None:
    generator = np.random.default_rng(10)
    labels = generator.random(60) < 0.5
    scores = labels + generator.normal(size=60)
    once = delong(labels, scores, np.arange(60))
    twice = delong(np.tile(labels, 2), np.tile(scores, 2), np.tile(np.arange(60), 2))
    assert twice.covariance[0, 0] == pytest.approx(once.covariance[0, 0], rel=1e-9)
    assert delong(np.tile(labels, 2), np.tile(scores, 2)).covariance[0, 0] < 0.6 * once.covariance[0, 0]


def test_the_same_ranking_differs_by_nothing() -> None:
    labels, scores = np.arange(30) % 2, np.random.default_rng(0).normal(size=30)
    found = compare_areas(labels, scores, np.exp(scores))
    assert (found.difference, found.z, found.p) == (0.0, 0.0, 1.0)


def test_the_test_is_antisymmetric_and_its_interval_holds_0_where_p_is_large() -> None:
    generator = np.random.default_rng(11)
    labels = generator.random(200) < 0.5
    first, second = labels + generator.normal(size=200), 2 * labels + generator.normal(size=200)
    one, other = compare_areas(labels, first, second), compare_areas(labels, second, first)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == pytest.approx(other.p)
    assert (one.p < 0.05) == (not one.low <= 0 <= one.high)


def test_p_is_uniform_where_both_are_equal() -> None:
    p = []
    for seed in range(200):
        generator = np.random.default_rng([7, seed])
        patient = np.repeat(np.arange(160), generator.integers(1, 9, 160))
        labels = (np.arange(160) < 70)[patient]
        noise = generator.normal(size=(160, 2))[patient] * 0.8 + generator.normal(size=(len(patient), 2)) * 0.6
        p.append(compare_areas(labels, labels + noise[:, 0], labels + noise[:, 1], patient).p)
    # The 1 % point of the distance is 0.114 for 200 draws.
    assert kstest(p, "uniform").statistic < 0.114


def test_few_patients_have_students_reference() -> None:
    generator = np.random.default_rng(12)
    labels = np.arange(60) < 8
    scores = labels[:, None] + generator.normal(size=(60, 2))
    found, areas = compare_areas(labels, scores[:, 0], scores[:, 1]), delong(labels, scores)
    assert areas.patients == 8
    assert found.p == pytest.approx(2 * student.sf(abs(found.z), 7))
    error = found.difference / found.z
    assert found.high - found.difference == pytest.approx(student.ppf(0.975, 7) * error)
    wide = compare_areas(labels, scores[:, 0], scores[:, 1], level=0.99)
    assert wide.difference - wide.low == pytest.approx(student.ppf(0.995, 7) * error)


def test_the_interval_is_on_the_log_odds_scale() -> None:
    found = delong_interval(0.9, 0.0004, patients=50)
    assert found.low is not None
    assert found.high is not None
    odds = [np.log(x / (1 - x)) for x in (found.low, 0.9, found.high)]
    reach = student.ppf(0.975, 49) * 0.02 / (0.9 * 0.1)  # fifty patients told of the variance
    assert [odds[1] - odds[0], odds[2] - odds[1]] == pytest.approx([reach, reach])
    assert delong_interval(1.0, 0.0, patients=50).low is None


def test_what_has_no_variance_is_refused() -> None:
    with pytest.raises(UndefinedMetricError, match="hold no positives") as caught:
        delong([0, 0], [0.1, 0.2])
    assert caught.value.reason == "no_positives"
    with pytest.raises(UndefinedMetricError, match="one class has rows of a single patient") as caught:
        delong([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "c"])
    assert caught.value.reason == "one_patient"
    with pytest.raises(DataError, match=r"Patients have shape \(3,\), labels have 2 rows"):
        delong([1, 0], [0.1, 0.2], [1, 2, 3])
    with pytest.raises(DataError, match="NaN or infinite"):
        delong([1, 0], [0.1, np.nan])
