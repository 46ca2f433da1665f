"""A curve's area is its metric, and its band is that of curves of resampled patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve as sklearn_roc_curve

from medvlp.statistics.bootstrap import patient_clusters, resample_patients
from medvlp.statistics.curves import rank_curves
from medvlp.statistics.decision_curve import decision_curve
from medvlp.statistics.metrics import UndefinedMetricError, auroc, average_precision


def _rows(seed: int = 0, rows: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.random(rows) < 0.35
    return label, np.round(label + generator.normal(size=rows), 1), generator.integers(0, 40, rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_curve_is_the_metric(seed: int) -> None:
    label, scores, patient = _rows(seed)
    clusters = patient_clusters(patient, label)
    both = rank_curves(label, scores, clusters, resamples=5, seed=0)
    roc, recall = both.roc, both.precision_recall
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auroc(label, scores), abs=1e-12)
    assert np.trapezoid(recall.y, recall.x) == pytest.approx(average_precision(label, scores), abs=1e-12)
    assert (np.diff(roc.x) >= 0).all()
    assert (np.diff(roc.y) >= 0).all()


def test_the_band_is_the_pointwise_quantile_of_resampled_curves() -> None:
    label, scores, patient = _rows()
    clusters = patient_clusters(patient, label)
    curve = rank_curves(label, scores, clusters, resamples=40, seed=3).roc
    weights = resample_patients(clusters, start=0, stop=40, seed=3)[clusters.patient]
    inside = curve.grid[1:-1]
    draws = []
    for resample in range(40):
        x, y, _ = sklearn_roc_curve(label, scores, sample_weight=weights[:, resample], drop_intermediate=False)
        row = []
        for place in inside:
            # The highest sensitivity at this false positive rate, else along the straight line to the next vertex.
            at = max(vertex for vertex in range(len(x)) if x[vertex] <= place + 1e-12)
            share = max(place - x[at], 0) / (x[at + 1] - x[at])
            row.append(y[at] + share * (y[at + 1] - y[at]))
        draws.append(row)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    assert curve.low[1:-1] == pytest.approx(low, abs=1e-9)
    assert curve.high[1:-1] == pytest.approx(high, abs=1e-9)


def test_the_bands_of_a_single_patient_are_the_curves_at_each_place() -> None:
    """Every resample of one patient is the rows as they are; ten rows of each class have vertices on the grid."""
    label = np.arange(20) % 2 == 0
    scores = label + np.random.default_rng(2).normal(size=20)
    both = rank_curves(label, scores, patient_clusters(np.zeros(20)), resamples=39, seed=0)
    called = scores[:, None] >= np.append(np.inf, np.sort(scores)[::-1])
    hit, false = (called & label[:, None]).sum(axis=0) / 10, (called & ~label[:, None]).sum(axis=0) / 10
    precision = hit / np.maximum(hit + false, 1e-9)
    place = both.roc.grid[:, None]
    sensitivity = np.where(false <= place + 1e-9, hit, 0).max(axis=1)  # the highest up to this false positive rate
    reached = np.argmax(hit >= np.maximum(place, 0.1) - 1e-9, axis=1)  # the first cut with this recall
    for band in (both.roc.low, both.roc.high):
        assert band == pytest.approx(sensitivity, abs=1e-9)
    for band in (both.precision_recall.low, both.precision_recall.high):
        assert band == pytest.approx(precision[reached], abs=1e-9)


def test_a_positive_that_was_not_drawn_is_no_step_of_the_precision() -> None:
    """Of two patients with a positive each the second alone is drawn in a quarter: half of its calls are right."""
    curves = rank_curves([1, 0, 1], [0.9, 0.8, 0.7], patient_clusters(["a", "b", "b"]), resamples=200, seed=0)
    assert (curves.precision_recall.low[0], curves.precision_recall.high[0]) == (0.5, 1.0)


def test_a_band_has_the_limits_of_an_interval_at_each_place_and_so_many_resamples() -> None:
    label, scores, patient = _rows()
    clusters = patient_clusters(patient, label)
    some, few = (rank_curves(label, scores, clusters, resamples=draws, seed=0) for draws in (39, 38))
    for curve in (some.roc, some.precision_recall):
        assert (curve.low <= curve.high).all()
    for curve in (few.roc, few.precision_recall):
        assert np.isnan([curve.low, curve.high]).all()
    with_few = decision_curve(label, 1 / (1 + np.exp(-scores)), clusters, resamples=38, seed=0)
    assert np.isnan([with_few.low, with_few.high]).all()
    assert np.isfinite(with_few.model).all()


def test_one_class_has_no_curve() -> None:
    with pytest.raises(UndefinedMetricError, match="the 3 rows hold no positives") as caught:
        rank_curves([0, 0, 0], [1, 2, 3], patient_clusters(range(3)), resamples=5, seed=0)
    assert caught.value.reason == "no_positives"
