"""The linear probe standardises by training rows, chooses on validation rows, and refuses shared patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medvlp.core.errors import DataError
from medvlp.evaluation.metrics import auroc
from medvlp.evaluation.probe import ProbeData, fit_linear_probe, thumbnails


def _data(seed: int, rows: int = 120, width: int = 6) -> ProbeData:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, width)) * np.logspace(0, 3, width) + 5
    labels = np.stack([features[:, 0] + generator.normal(size=rows) > 5, features[:, 1] > 5], axis=1).astype(float)
    labels[::10, 0], labels[5::10, 0] = -1, np.nan
    return ProbeData(features, labels, [f"{seed}-{row}" for row in range(rows)])


def test_scores_are_the_logistic_regression_that_is_best_on_validation() -> None:
    train, validation = _data(0), _data(1)
    probe = fit_linear_probe(train, validation, names=["effusion", "nodule"], strengths=(0.001, 0.1, 10.0))
    mean, scale = train.features.mean(axis=0), train.features.std(axis=0)
    known, held_out = np.isin(train.labels[:, 0], (0, 1)), np.isin(validation.labels[:, 0], (0, 1))
    best, value = None, -1.0
    for strength in (0.001, 0.1, 10.0):
        model = LogisticRegression(C=strength, solver="newton-cg", tol=1e-12, max_iter=2000).fit(
            ((train.features - mean) / scale)[known], train.labels[known, 0]
        )
        got = auroc(
            validation.labels[held_out, 0], model.decision_function(((validation.features - mean) / scale)[held_out])
        )
        if got > value:
            best, value = model, got
    test = _data(2)
    assert probe.scores(test.features)[:, 0] == pytest.approx(
        best.decision_function((test.features - mean) / scale), abs=1e-9
    )
    assert (probe.strength[0], probe.validation_auroc[0]) == (best.C, value)


def test_units_of_the_features_do_not_matter() -> None:
    train, validation = _data(0), _data(1)
    scaled = [ProbeData(part.features * 1000 - 7, part.labels, part.patients) for part in (train, validation)]
    names = ["effusion", "nodule"]
    scores = fit_linear_probe(train, validation, names=names).scores(validation.features)
    assert fit_linear_probe(*scaled, names=names).scores(scaled[1].features) == pytest.approx(scores, abs=1e-6)


def test_a_constant_feature_carries_nothing() -> None:
    train, validation = _data(0), _data(1)
    train.features[:, 3] = 0.1
    probe = fit_linear_probe(train, validation, names=["effusion", "nodule"])
    moved = validation.features.copy()
    moved[:, 3] += 1e6
    assert np.array_equal(probe.scores(moved), probe.scores(validation.features))


def test_findings_of_one_class_are_left_out_by_name_and_unchosen_ones_are_marked() -> None:
    train, validation = _data(0), _data(1)
    train.labels[:, 1] = 0
    assert fit_linear_probe(train, validation, names=["effusion", "nodule"]).left_out == {"nodule": "no_positives"}
    train, validation = _data(0), _data(1)
    validation.labels[:, 1] = 1
    probe = fit_linear_probe(train, validation, names=["effusion", "nodule"], strengths=(0.1, 1.0, 10.0))
    assert np.isnan(probe.validation_auroc[1])
    assert probe.strength[1] == 1.0


def test_shared_patients_and_bad_shapes_are_refused() -> None:
    train, validation = _data(0), _data(1)
    with pytest.raises(DataError, match="120 patients are in training and validation: split by patient"):
        fit_linear_probe(train, train, names=["effusion", "nodule"])
    with pytest.raises(
        DataError, match=r"Training has features \(120, 6\), labels \(120, 2\) and 120 patients for 1 findings"
    ):
        fit_linear_probe(train, validation, names=["effusion"])
    broken = train.features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="Features hold 1 NaN or infinite values"):
        fit_linear_probe(ProbeData(broken, train.labels, train.patients), validation, names=["effusion", "nodule"])
    with pytest.raises(DataError, match=r"Features have shape \(2, 3\), expected \(N, 6\)"):
        fit_linear_probe(train, validation, names=["effusion", "nodule"]).scores(np.ones((2, 3)))
    train.labels[:] = 0
    with pytest.raises(DataError, match="No finding has both classes"):
        fit_linear_probe(train, validation, names=["effusion", "nodule"])


def test_thumbnails_average_areas() -> None:
    images = np.random.default_rng(0).random((2, 64, 48))
    small = thumbnails(images, 16).reshape(2, 16, 16)
    assert small == pytest.approx(images.reshape(2, 16, 4, 16, 3).mean(axis=(2, 4)), abs=1e-6)
    # Any size: the mean is kept, because every pixel counts with its area.
    odd = np.random.default_rng(1).random((1, 37, 53))
    assert thumbnails(odd, 16).mean() == pytest.approx(odd.mean(), abs=1e-6)
    with pytest.raises(DataError, match=r"Images have shape \(1, 8, 8\): thumbnails need"):
        thumbnails(np.ones((1, 8, 8)))
