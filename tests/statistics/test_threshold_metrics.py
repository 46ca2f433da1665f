"""Counts, thresholds and probability scores against brute force and scikit-learn, or a refusal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression

from medvlp.core.errors import ConfigError, DataError
from medvlp.statistics.bootstrap import patient_clusters, resample_patients
from medvlp.statistics.confusion import call_counts
from medvlp.statistics.decision_curve import decision_curve
from medvlp.statistics.metrics import UndefinedMetricError
from medvlp.statistics.operating_points import fit_operating_point, parse_rule
from medvlp.statistics.probability_metrics import brier_parts
from medvlp.statistics.table import Confusion, call_metrics
from tests.statistics.calls import threshold_metric


def _cases(number: int):
    generator = np.random.default_rng(20261126)
    for at in range(number):
        n = int(generator.integers(1, 40))
        labels = (generator.random(n) < generator.random()).astype(int)
        called = (generator.random(n) < generator.random()).astype(int)
        probabilities = np.round(generator.random(n), int(generator.integers(1, 17)))
        weights = generator.random(n) * (generator.random(n) < 0.8) if at % 2 else None
        yield labels, called, probabilities, weights


def _by_hand(labels, called, weights) -> dict[str, float | None]:
    tp = fp = fn = tn = 0.0
    for y, c, w in zip(labels, called, np.ones(len(labels)) if weights is None else weights, strict=True):
        tp, fp, fn, tn = tp + w * y * c, fp + w * (1 - y) * c, fn + w * y * (1 - c), tn + w * (1 - y) * (1 - c)

    def over(a: float, b: float) -> float | None:
        return a / b if b > 0 else None

    sensitivity, specificity = over(tp, tp + fn), over(tn, tn + fp)
    both = None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": over(tp, tp + fp),
        "npv": over(tn, tn + fn),
        "f1": over(2 * tp, 2 * tp + fp + fn),
        "mcc": over(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "accuracy": over(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": both,
    }


CASES = [1_000, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("cases", CASES)
def test_thousands_of_random_tables_equal_sums_by_hand_or_are_refused(cases: int) -> None:
    refused = 0
    for labels, called, _, weights in _cases(cases):
        for name, value in _by_hand(labels, called, weights).items():
            try:
                found = threshold_metric(name, labels, called, weights)
            except UndefinedMetricError:
                found = None
                refused += 1
            assert (found is None) == (value is None), name
            assert found is None or abs(found - value) < 1e-12
    assert refused > cases / 10


def test_some_cases_equal_scikit_learn() -> None:
    for labels, called, _, weights in _cases(60):
        pairs = {
            "sensitivity": lambda y, c, w: sk.recall_score(y, c, sample_weight=w),
            "ppv": lambda y, c, w: sk.precision_score(y, c, sample_weight=w),
            "f1": lambda y, c, w: sk.f1_score(y, c, sample_weight=w),
            "mcc": lambda y, c, w: sk.matthews_corrcoef(y, c, sample_weight=w),
            "accuracy": lambda y, c, w: sk.accuracy_score(y, c, sample_weight=w),
        }
        name = list(pairs)[len(labels) % 5]
        try:
            found = threshold_metric(name, labels, called, weights)
        except UndefinedMetricError:
            continue
        assert found == pytest.approx(pairs[name](labels, called, weights), abs=1e-12)


@pytest.mark.parametrize("probability", [1.0001, -1e-9])
def test_what_is_no_probability_is_refused_and_never_squashed(probability: float) -> None:
    with pytest.raises(DataError, match=r"lie outside \[0, 1\] in 1 of 2 rows.*they are not squashed here"):
        brier_parts([0, 1], [0.5, probability])
    with pytest.raises(DataError, match="NaN or infinite"):
        brier_parts([0, 1], [0.5, np.nan])


def test_the_parts_of_a_brier_score_add_up_and_mean_what_they_say() -> None:
    generator = np.random.default_rng(3)
    p = np.round(generator.random(500), 2)
    y = generator.random(500) < p**2
    parts = brier_parts(y, p)
    whole = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert whole == pytest.approx(sk.brier_score_loss(y, p), abs=1e-12)
    assert parts.uncertainty == pytest.approx(y.mean() * (1 - y.mean()))
    assert min(parts.miscalibration, parts.discrimination) >= 0
    best = sk.brier_score_loss(y, IsotonicRegression().fit_transform(p, y))
    assert parts.miscalibration == pytest.approx(sk.brier_score_loss(y, p) - best, abs=1e-12)
    constant = brier_parts(y, np.full(500, y.mean()))
    assert (constant.miscalibration, constant.discrimination) == pytest.approx((0, 0), abs=1e-12)


def test_calls_that_are_all_right_or_all_wrong_have_an_mcc_of_1_or_minus_1_and_no_more() -> None:
    counts, none = np.arange(1.0, 60.0), np.zeros((59, 59))
    right = np.meshgrid(counts, counts)
    assert (Confusion(tp=right[0], fp=none, fn=none, tn=right[1]).metric("mcc") == 1).all()
    assert (Confusion(tp=none, fp=right[0], fn=right[1], tn=none).metric("mcc") == -1).all()


def test_undefined_metrics_say_why() -> None:
    for labels, called, name, reason in (
        ([0, 0], [0, 1], "sensitivity", "no_positives"),
        ([1, 1], [0, 1], "specificity", "no_negatives"),
        ([0, 1], [0, 0], "ppv", "none_called"),
        ([0, 1], [1, 1], "npv", "all_called"),
        ([], [], "accuracy", "no_rows"),
    ):
        with pytest.raises(UndefinedMetricError, match=f"{name} is not defined for these") as caught:
            threshold_metric(name, labels, called)
        assert caught.value.reason == reason
    with pytest.raises(DataError, match=r"Calls have shape \(1,\), labels have 2 rows"):
        threshold_metric("f1", [0, 1], [1])


def test_counts_of_resamples_are_tables_of_copied_rows() -> None:
    generator = np.random.default_rng(5)
    patient = generator.integers(0, 20, 60)
    labels, scores = generator.random(60) < 0.4, np.round(generator.normal(size=60), 1)
    clusters = patient_clusters(patient, labels)
    thresholds = [0.5, -0.3, 0.5, 9.0]
    weights = resample_patients(clusters, start=0, stop=10, seed=0)
    tables = call_counts(labels, scores, thresholds, clusters.patient, clusters.patients).tables(weights)
    for resample in range(10):
        rows = np.repeat(np.arange(60), weights[clusters.patient, resample].astype(int))
        for at, threshold in enumerate(thresholds):
            called = scores[rows] >= threshold
            for name in call_metrics():
                found = tables.metric(name)[at, resample]
                try:
                    assert found == pytest.approx(threshold_metric(name, labels[rows], called), abs=1e-12)
                except UndefinedMetricError:
                    assert np.isnan(found)


RULES = (
    "youden",
    "max_f1",
    "sensitivity_0.9",
    "sensitivity_1",
    "specificity_0.95",
    "specificity_.5",
    "cost_5",
    "cost_.2",
)


def _objective(rule: str, labels: np.ndarray, called: np.ndarray) -> tuple[float, ...]:
    """Return what the rule prefers, larger is better; the last entry prefers fewer calls."""
    tp, fp = (called & labels).sum(), (called & ~labels).sum()
    p, n = labels.sum(), (~labels).sum()
    kind, _, target = rule.partition("_")
    fewer = -called.sum()
    if rule == "youden":
        return tp * n - fp * p, fewer
    if rule == "max_f1":
        return 2 * tp / (p + tp + fp), fewer
    if kind == "cost":
        return -(float(target) * (p - tp) + fp), fewer
    if kind == "sensitivity":
        return float(tp >= float(target) * p - 1e-9), fewer
    return float(n - fp >= float(target) * n - 1e-9), -fewer


@pytest.mark.parametrize("name", RULES)
def test_a_threshold_is_the_best_of_all(name: str) -> None:
    generator = np.random.default_rng(6)
    for _ in range(150):
        n = int(generator.integers(2, 30))
        labels = generator.random(n) < 0.5
        if not labels.any() or labels.all():
            continue
        scores = np.round(labels + generator.normal(size=n), int(generator.integers(0, 3)))
        point = fit_operating_point(labels, scores, parse_rule(name))
        best = max(_objective(name, labels, scores >= t) for t in [np.inf, *np.unique(scores)])
        called = scores >= point.threshold
        assert _objective(name, labels, called) == best
        assert point.sensitivity == pytest.approx(called[labels].mean())
        assert point.specificity == pytest.approx((~called)[~labels].mean())
        assert (point.n, point.positives) == (n, labels.sum())


def test_a_threshold_survives_scores_written_with_fewer_digits() -> None:
    labels, scores = [0, 0, 1, 1], np.array([0.123456789, 0.2222222222, 0.3333333333, 0.4444444444])
    point = fit_operating_point(labels, scores, parse_rule("youden"))
    assert ((np.round(scores, 3) >= point.threshold) == (scores >= point.threshold)).all()


def test_a_threshold_parts_neighbouring_numbers_and_calling_all_is_the_lowest_score() -> None:
    point = fit_operating_point([0, 1], [1.0, np.nextafter(1.0, 2.0)], parse_rule("youden"))
    assert (point.threshold, point.sensitivity, point.specificity) == (np.nextafter(1.0, 2.0), 1.0, 1.0)
    assert fit_operating_point([1, 0], [0.1, 0.9], parse_rule("sensitivity_1")).threshold == 0.1


def test_a_share_that_is_asked_for_is_of_whole_rows() -> None:
    """0.56 of 25 is 14, and 14.000000000000002 to a computer."""
    labels = np.arange(50) >= 25
    assert fit_operating_point(labels, np.arange(50), parse_rule("sensitivity_0.56")).sensitivity == 14 / 25
    assert fit_operating_point(labels, np.arange(50), parse_rule("specificity_0.56")).specificity == pytest.approx(0.56)


def test_calling_nothing_has_a_finite_threshold_above_every_score() -> None:
    point = fit_operating_point([1, 0, 1], [0.1, 0.9, 0.2], parse_rule("specificity_1"))
    assert np.isfinite(point.threshold)
    assert point.threshold > 0.9
    assert (point.sensitivity, point.specificity) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["best", "sensitivity", "sensitivity_90", "specificity_0", "cost_0", "youden_2"])
def test_a_rule_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="operating point"):
        parse_rule(name)


def test_a_threshold_of_one_class_is_refused() -> None:
    with pytest.raises(
        UndefinedMetricError, match="No threshold can be chosen on validation rows: the 2 rows hold no positives"
    ):
        fit_operating_point([0, 0], [0.1, 0.2], parse_rule("youden"))


def test_net_benefit_by_hand_and_its_ends() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([0.1, 0.3, 0.6, 0.4, 0.9])
    curve = decision_curve(labels, p, patient_clusters(range(5)), thresholds=[0.05, 0.5], resamples=20, seed=0)
    # At 0.05 everybody is called; at 0.5 one true and one false positive of five.
    assert curve.model[0] == pytest.approx(curve.everybody[0])
    assert curve.model[1] == pytest.approx(1 / 5 - 1 / 5 * 1)
    assert curve.everybody[1] == pytest.approx(0.4 - 0.6)
    people = patient_clusters([0, 0, 1, 2, 3])
    curve = decision_curve(labels, p, people, thresholds=[0.5], resamples=60, seed=3)
    rows = resample_patients(people, start=0, stop=60, seed=3)[people.patient]
    drawn = (rows[4] - rows[2]) / rows.sum(axis=0)  # at 0.5 the odds are 1: the true call less the false one
    assert [curve.low[0], curve.high[0]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    with pytest.raises(DataError, match="above 0 and below 1"):
        decision_curve(labels, p, patient_clusters(range(5)), thresholds=[1.0], resamples=20, seed=0)
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        decision_curve(labels, p * 3, patient_clusters(range(5)), resamples=20, seed=0)
