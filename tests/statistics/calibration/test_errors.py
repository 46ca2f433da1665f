"""Calibration errors: 0 where probabilities are true, their closed form where they are not, and no thanks to chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct, idct
from scipy.special import expit, logit

from medvlp.core.errors import DataError
from medvlp.statistics.calibration.errors import (
    equal_mass_bins,
    expected_calibration_error,
    residual_variance,
    smooth_calibration_error,
    smooth_errors,
    smoothing_grid,
)
from medvlp.statistics.calibration.line import calibration_line
from medvlp.statistics.calibration.reliability import reliability_bins
from medvlp.statistics.metrics import UndefinedMetricError
from medvlp.statistics.proportions import wilson


def test_bins_hold_equal_numbers_and_never_part_equal_probabilities() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(100)
    assert np.bincount(equal_mass_bins(p, 10)).tolist() == [10] * 10
    tied = np.round(p, 1)
    place = equal_mass_bins(tied, 10)
    assert all(len(set(place[tied == value])) == 1 for value in tied)
    assert (np.diff(place[np.argsort(tied)]) >= 0).all()
    with pytest.raises(DataError, match="0 bins hold nothing"):
        equal_mass_bins(p, 0)


def test_the_plain_error_is_the_mean_over_bins() -> None:
    generator = np.random.default_rng(1)
    p, y = generator.random(90), generator.random(90) < 0.4
    order = np.argsort(p)
    expected = np.mean([abs(y[rows].mean() - p[rows].mean()) for rows in order.reshape(9, 10)])
    assert expected_calibration_error(y, p, bins=9, corrected=False) == pytest.approx(expected, abs=1e-12)


def test_the_centre_of_a_mass_on_the_grid_stays_where_its_probability_is() -> None:
    p = np.array([1 / 16, 0.3, 0.5, 0.77, 15 / 16])
    cell, share = smoothing_grid(p, 8)
    assert (cell + share + 0.5) / 8 == pytest.approx(p, abs=1e-12)  # the middle of cell k is (k + 1 / 2) / 8


def test_a_bin_weighs_as_many_rows_as_it_holds() -> None:
    """Nine rows of 0.1 without the finding are 0.1 off, one of 0.9 is 0.9 off (Naeini et al. 2015: sum n_b / n)."""
    found = expected_calibration_error(np.zeros(10), np.repeat([0.1, 0.9], [9, 1]), bins=2, corrected=False)
    assert found == pytest.approx(0.9 * 0.1 + 0.1 * 0.9)


def test_one_constant_probability_has_the_error_of_its_mean() -> None:
    y = np.arange(1000) % 4 == 0
    for measure in (expected_calibration_error, smooth_calibration_error):
        assert measure(y, np.full(1000, 0.25)) == pytest.approx(0.0, abs=1e-3)
    assert expected_calibration_error(y, np.full(1000, 0.65)) == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize(("temperature", "n", "within"), [(1.0, 400, 0.02), (1.5, 400, 0.016), (2.0, 2000, 0.004)])
def test_the_corrected_error_is_nearer_the_truth_than_the_plain_one(temperature: float, n: int, within: float) -> None:
    generator = np.random.default_rng(2)
    many = generator.beta(0.7, 2, 200_000)
    truth = np.abs(many - expit(logit(many) * temperature)).mean()
    found = []
    for _ in range(100):
        p = generator.beta(0.7, 2, n)
        y, q = generator.random(n) < p, expit(logit(p) * temperature)
        found.append((expected_calibration_error(y, q), expected_calibration_error(y, q, corrected=False)))
    corrected, plain = np.mean(found, axis=0)
    assert abs(corrected - truth) < within
    assert abs(corrected - truth) < abs(plain - truth)


def test_images_of_a_patient_do_not_make_the_correction_smaller() -> None:
    generator = np.random.default_rng(3)
    p, y = generator.random(200), generator.random(200) < 0.5
    place = equal_mass_bins(p, 5)
    once = residual_variance(y - p, place, np.arange(200))
    four = residual_variance(np.tile(y - p, 4), np.tile(place, 4), np.tile(np.arange(200), 4))
    assert four == pytest.approx(once)
    assert once == pytest.approx([(y - p)[place == k].var(ddof=1) / (place == k).sum() for k in range(5)])


def _smooth_by_sums(y: np.ndarray, p: np.ndarray) -> float:
    """Return the smooth error by its definition: a reflected Gaussian kernel, summed over images of every row."""
    places = (np.arange(4000) + 0.5) / 4000

    def error(width: float) -> float:
        smoothed = np.zeros(4000)
        for q, residual in zip(p, y - p, strict=True):
            for image in [q + 2 * k for k in range(-3, 4)] + [-q + 2 * k for k in range(-3, 4)]:
                smoothed += residual * np.exp(-((places - image) ** 2) / (2 * width**2))
        return float(np.abs(smoothed).mean() / (len(p) * width * np.sqrt(2 * np.pi)))

    low, high = 1e-4, 1.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return middle


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_smooth_error_is_its_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p = generator.random(25)
    y = generator.random(25) < p**2
    assert smooth_calibration_error(y, p) == pytest.approx(_smooth_by_sums(y, p), abs=2e-4)


def test_the_line_is_found_and_tested() -> None:
    generator = np.random.default_rng(4)
    z = generator.normal(size=20_000)
    y = generator.random(20_000) < expit(z)
    right, sure, many = (calibration_line(y, expit(scores)) for scores in (z, 2 * z, z + 1))
    assert right.slope_interval.low < 1 < right.slope_interval.high
    assert right.intercept_interval.low < 0 < right.intercept_interval.high
    assert right.p > 0.01
    assert sure.slope == pytest.approx(0.5, abs=0.03)
    assert many.intercept == pytest.approx(-1, abs=0.06)
    assert max(sure.p, many.p) < 1e-10


def test_the_errors_of_the_line_are_the_sandwich_over_patients() -> None:
    """Bread: the inverse information; filling: squares of each patient's score; P / (P - 1) for the mean taken off."""
    generator = np.random.default_rng(9)
    z, patients = generator.normal(size=400), np.arange(400) // 4
    y = generator.random(400) < expit(z)
    line = calibration_line(y, expit(2 * z + 1), patients, level=0.9)
    found = ((line.slope, line.slope_interval), (line.intercept, line.intercept_interval))
    both, alone = np.stack([2 * z + 1, np.ones(400)], axis=1), np.ones((400, 1))
    fitted = expit(both @ line.line), expit(2 * z + 1 + line.intercept)
    for (value, interval), design, p in zip(found, (both, alone), fitted, strict=True):
        bread = np.linalg.inv((design.T * (p * (1 - p))) @ design)
        scores = (design * (y - p)[:, None]).reshape(100, 4, -1).sum(axis=1)
        reach = 1.6449 * np.sqrt((bread @ scores.T @ scores @ bread)[0, 0] * 100 / 99)
        assert [interval.low, interval.high] == pytest.approx([value - reach, value + reach], abs=1e-4)


def test_nearly_equal_probabilities_have_the_line_of_their_log_odds() -> None:
    """What a calibrator gives that found nothing; slope and p are those of the same scores in other units."""
    generator = np.random.default_rng(8)
    z, patients = generator.normal(size=400), np.arange(400) // 2
    y = generator.random(400) < expit(z - 1.8)
    wide = calibration_line(y, expit(z - 1.8), patients)
    for spread in (1e-2, 1e-4, 1e-6):
        near = calibration_line(y, expit(spread * z - 1.8), patients)
        assert near.slope * spread == pytest.approx(wide.slope, rel=1e-6)
        assert near.slope_interval.low * spread == pytest.approx(wide.slope_interval.low, rel=1e-5)
        # That the scores should tell as much as they do is refuted the more clearly the less they say they do: the
        # test is then of "the slope is 0 and the rate that of -1.8".
        assert 0 <= near.p < min(wide.p, 1e-6)
    with pytest.raises(UndefinedMetricError, match="400 probabilities are all equal") as refusal:
        calibration_line(y, np.full(400, 0.2), patients)
    assert refusal.value.reason == "all_equal"  # such a score divides no classes
    with pytest.raises(UndefinedMetricError, match="400 probabilities are all equal"):
        calibration_line(y, expit(1e-12 * z - 1.8), patients)


@pytest.mark.parametrize("of_each", [(0.3, 0.7, 0.5, 0.6), (0.3, 0.7, 0.5, 0.55)])
def test_patients_with_the_same_rows_leave_a_line_without_interval_or_test(of_each: tuple[float, ...]) -> None:
    """No patient moves the line: what is left of their differences is rounding."""
    line = calibration_line(np.tile([0, 1, 1, 0], 10), np.tile(of_each, 10), np.repeat(np.arange(10), 4))
    assert np.isfinite([line.slope, line.intercept]).all()
    assert line.p is None
    assert line.slope_interval.low is line.intercept_interval.high is None


def test_the_line_of_copied_images_is_as_uncertain_as_that_of_the_patients() -> None:
    generator = np.random.default_rng(5)
    z = generator.normal(size=300)
    y = generator.random(300) < expit(z)
    once = calibration_line(y, expit(z))
    copied = calibration_line(np.tile(y, 5), expit(np.tile(z, 5)), np.tile(np.arange(300), 5))
    taken_apart = calibration_line(np.tile(y, 5), expit(np.tile(z, 5)))
    width = [each.slope_interval.high - each.slope_interval.low for each in (once, copied, taken_apart)]
    assert width[1] == pytest.approx(width[0], rel=1e-6)
    assert width[2] < 0.5 * width[0]


def test_a_test_of_the_line_has_its_size() -> None:
    rejected = 0
    for seed in range(200):
        generator = np.random.default_rng([6, seed])
        z = generator.normal(size=500) * 1.5
        rejected += calibration_line(generator.random(500) < expit(z), expit(z)).p < 0.05
    assert 2 <= rejected <= 20  # expected 10


def test_reliability_bands_are_wilsons_over_patients() -> None:
    generator = np.random.default_rng(7)
    p = generator.random(300)
    y = generator.random(300) < p
    bins = reliability_bins(y, p, bins=10)
    assert sum(each.n for each in bins) == 300
    assert [each.probability for each in bins] == sorted(each.probability for each in bins)
    assert all(each.interval.low <= each.observed <= each.interval.high for each in bins)
    narrow = reliability_bins(y, p, bins=10, level=0.5)[3]
    assert narrow.interval == wilson(narrow.observed * narrow.n, narrow.n, level=0.5)
    copied = reliability_bins(np.tile(y, 3), np.tile(p, 3), np.tile(np.arange(300), 3), bins=10)
    for one, three in zip(bins, copied, strict=True):
        assert (three.n, three.patients) == (3 * one.n, one.n)
        assert three.interval.high - three.interval.low > 0.9 * (one.interval.high - one.interval.low)


def test_what_is_not_defined_is_refused() -> None:
    for measure in (expected_calibration_error, smooth_calibration_error):
        with pytest.raises(UndefinedMetricError, match="of no rows is not defined"):
            measure([], [])
        with pytest.raises(DataError, match=r"outside \[0, 1\]"):
            measure([0, 1], [0.1, 3.0])
    with pytest.raises(UndefinedMetricError, match="hold no negatives"):
        calibration_line([1, 1], [0.1, 0.2])
    with pytest.raises(UndefinedMetricError, match="no finite solution"):
        calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])


@pytest.mark.parametrize("width", [0.005, 0.02, 0.1])
def test_the_smooth_error_of_draws_is_that_of_the_value_to_the_precision_of_its_numbers(width: float) -> None:
    place = (np.arange(512) + 0.5) / 512
    residual = width * np.sin(np.pi * place * np.arange(1, 9)[:, None]).T / 512
    found = smooth_errors(residual.astype(np.float32), steps=9)
    assert found == pytest.approx(smooth_errors(residual), abs=2e-5)
    for mass, error in zip(residual.T, smooth_errors(residual), strict=True):
        waves = dct(mass, norm="ortho") * np.exp(-((np.pi * np.arange(512) * error) ** 2) / 2)
        assert np.abs(idct(waves, norm="ortho")).sum() == pytest.approx(error, abs=1e-9)
