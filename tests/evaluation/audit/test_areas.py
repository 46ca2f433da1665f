"""Areas by patient: their variance is DeLong's, and gaps know who is on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medvlp.evaluation.audit.areas import area_interval, area_p, gap_between, mean_area, patient_area
from medvlp.evaluation.scoring.split import Finding
from medvlp.statistics.bootstrap import bootstrap, patient_clusters
from medvlp.statistics.delong import delong
from medvlp.statistics.metrics import FloatArray


def _finding(truth: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> Finding:
    at = np.arange(len(truth))
    return Finding("x", at, truth, scores, patient, int(truth.sum()), len(np.unique(patient)), None)


def _cohort(seed: int, *, images: int, patients: int = 120) -> Finding:
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    truth = generator.random(len(patient)) < 0.4
    scores = truth + generator.normal(size=patients)[patient] + generator.normal(size=len(patient))
    return _finding(truth, scores.round(1), patient)


def test_of_one_image_a_patient_the_variance_is_delongs() -> None:
    cohort = _cohort(0, images=1)
    area = patient_area(cohort, 120)
    expected = delong(cohort.truth, cohort.scores)
    assert area.value == pytest.approx(float(expected.value[0]), abs=1e-12)
    assert area.variance == pytest.approx(float(expected.covariance[0, 0]), rel=1e-12)


def test_of_several_images_it_is_the_clustered_variance() -> None:
    cohort = _cohort(1, images=4)
    expected = delong(cohort.truth, cohort.scores, cohort.patient)
    # The factors I / (I - 1) enter the cross term as a geometric mean.
    assert patient_area(cohort, 120).variance == pytest.approx(float(expected.covariance[0, 0]), rel=0.01)


def test_a_gap_of_shared_patients_has_the_spread_of_its_bootstrap() -> None:
    cohort = _cohort(2, images=4)
    # Half of the images of every patient, who is positive or not as a whole: what the halves share is the patient.
    cohort = replace(cohort, truth=cohort.patient % 5 < 2)
    half = np.arange(len(cohort.truth)) % 2 == 0
    one, other = (patient_area(cohort.subset(rows), 120) for rows in (half, ~half))
    clusters = patient_clusters(cohort.patient)

    def statistic(weights: FloatArray) -> FloatArray:
        rows = weights[cohort.patient]
        gaps = [
            roc_auc_score(cohort.truth[half], cohort.scores[half], sample_weight=column[half])
            - roc_auc_score(cohort.truth[~half], cohort.scores[~half], sample_weight=column[~half])
            for column in rows.T
        ]
        return np.array(gaps)[:, None]

    spread = float(bootstrap(statistic, clusters, resamples=400, seed=0).std())
    together = float(np.linalg.norm(one.moved - other.moved))
    apart = float(np.sqrt(one.variance + other.variance))
    assert together == pytest.approx(spread, rel=0.1)
    assert apart > 1.2 * together
    found = gap_between(one, other)
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert found.interval.high - found.interval.low < 2 * 2.1 * apart


def test_a_gap_seen_from_the_other_side_is_its_mirror() -> None:
    one, other = (patient_area(_cohort(seed, images=2), 120) for seed in (3, 4))
    here, there = gap_between(one, other), gap_between(other, one)
    assert here.value == -there.value
    assert here.p == pytest.approx(there.p)
    assert here.interval.low == pytest.approx(-(there.interval.high or 0.0))


def test_the_mean_of_one_area_is_it_and_of_independent_ones_has_a_smaller_variance() -> None:
    areas = [patient_area(_cohort(seed, images=1), 120) for seed in range(8)]
    assert mean_area(areas[:1]).variance == pytest.approx(areas[0].variance)
    assert mean_area(areas[:1]).freedom == pytest.approx(areas[0].freedom)
    assert mean_area(areas).variance < 0.4 * min(each.variance for each in areas)


def test_a_score_that_divides_the_classes_has_neither_interval_nor_test() -> None:
    truth = np.arange(40) % 2 == 0
    perfect = patient_area(_finding(truth, truth.astype(float), np.arange(40)), 40)
    other = patient_area(_cohort(5, images=1), 120)
    assert perfect.value == 1.0
    assert area_interval(perfect).low is None
    assert area_p(perfect) is None
    assert gap_between(perfect, other).p is None


def test_of_ten_positives_the_test_is_wrong_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    found = []
    for _ in range(300):
        sides = []
        for positives in (10, 60):
            truth = np.arange(6 * positives) < positives
            scores = 1.466 * truth + generator.normal(size=len(truth))
            sides.append(_finding(truth, scores, np.arange(len(truth))))
        # Patients 0 to 359 of the larger side; the smaller side's are others.
        moved = _finding(sides[0].truth, sides[0].scores, sides[0].patient + 360)
        p = gap_between(patient_area(moved, 420), patient_area(sides[1], 420)).p
        found.append(1.0 if p is None else p)
    # Standard errors of these shares are 1.3 and 2.3 %.
    assert np.mean(np.array(found) < 0.05) <= 0.09
    assert 0.13 <= np.mean(np.array(found) < 0.2) <= 0.27
