"""The pass over sorted rows gives scikit-learn's numbers, for any weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.statistics.bootstrap import bootstrap, patient_clusters
from medvlp.statistics.metrics import auroc, average_precision
from medvlp.statistics.operating_points import fit_operating_point, parse_rule
from medvlp.statistics.ranked import rank_rows


def _case(generator: np.random.Generator):
    n = int(generator.integers(2, 50))
    labels = generator.random(n) < generator.random()
    scores = generator.integers(0, int(generator.integers(1, 60)), n) / 7.0 - 3.0
    patient = generator.integers(0, max(1, n // 2), n)
    return labels, scores, patient


def test_both_metrics_of_a_thousand_weighted_cases() -> None:
    generator = np.random.default_rng(11)
    defined = 0
    for _ in range(1000):
        labels, scores, patient = _case(generator)
        if not labels.any() or labels.all():
            continue
        weights = generator.integers(0, 4, int(patient.max()) + 1).astype(np.int32)
        found = rank_rows(labels, scores, patient).values(weights)
        mass = weights[patient]
        if not mass[labels].sum() or not mass[~labels].sum():
            assert np.isnan(found).all()
            continue
        expected = [oracle(labels, scores, sample_weight=mass) for oracle in (roc_auc_score, average_precision_score)]
        defined += 1
        assert found == pytest.approx(expected, abs=1e-12)
    assert defined > 500


def test_a_tuned_threshold_is_the_best_of_all_thresholds() -> None:
    generator = np.random.default_rng(12)
    for _ in range(200):
        labels, scores, patient = _case(generator)
        if not labels.any() or labels.all():
            continue
        f1, accuracy, sensitivity, specificity = rank_rows(labels, scores, patient).tuned(
            np.ones(int(patient.max()) + 1, np.int32)
        )
        tables = []
        for threshold in [np.inf, *np.unique(scores)]:
            called = scores >= threshold
            tp, fp = (called & labels).sum(), (called & ~labels).sum()
            tables.append((tp, fp, labels.sum() - tp, (~labels).sum() - fp))
        f1s = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn, _ in tables]
        assert f1 == pytest.approx(max(f1s), abs=1e-12)
        at_best = [
            (tp + tn) / len(labels) for (tp, _, _, tn), each in zip(tables, f1s, strict=True) if each == max(f1s)
        ]
        assert min(abs(accuracy - each) for each in at_best) < 1e-12
        youden = max(tp / (tp + fn) + tn / (tn + fp) for tp, fp, fn, tn in tables)
        assert sensitivity + specificity == pytest.approx(youden, abs=1e-12)
        point = fit_operating_point(labels, scores, parse_rule("youden"))  # of equally good ones that of fewest calls
        assert (sensitivity, specificity) == pytest.approx((point.sensitivity, point.specificity), abs=1e-12)


def test_the_bootstrap_of_ranked_rows_is_that_of_copied_rows() -> None:
    generator = np.random.default_rng(13)
    patient = generator.integers(0, 30, 80)
    labels = generator.random(80) < 0.4
    scores = np.round(labels + generator.normal(size=80), 1)
    clusters = patient_clusters(patient, labels)
    ranked = rank_rows(labels, scores, clusters.patient)
    kept = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        kept.append(weights)
        return ranked.draws(np.ascontiguousarray(weights.T, np.int32))

    draws = bootstrap(statistic, clusters, resamples=40, seed=1)
    weights = np.concatenate(kept, axis=1).astype(int)
    for at in range(40):
        rows = np.repeat(np.arange(80), weights[clusters.patient, at])
        expected = auroc(labels[rows], scores[rows]), average_precision(labels[rows], scores[rows])
        assert draws[at] == pytest.approx(expected, abs=1e-12)
