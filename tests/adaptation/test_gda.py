"""Gaussian discriminants are scikit-learn's linear discriminant analysis of one covariance; the checks of the card."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from medvlp.adaptation.ensemble import Ensemble
from medvlp.adaptation.gda import Gda, discriminants
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from tests.adaptation.worlds import gaussians


class Ridged(BaseEstimator):
    """Covariance of one class, with a multiple of the identity."""

    def __init__(self, level: float = 0.0) -> None:
        self.level = level

    def fit(self, rows: np.ndarray) -> Ridged:
        centred = rows - rows.mean(axis=0)
        self.covariance_ = centred.T @ centred / len(rows) + self.level * np.eye(rows.shape[1])
        return self


@pytest.mark.parametrize(("rows", "width"), [(60, 7), (20, 50)])
@pytest.mark.parametrize("ridge", [1.0, 0.05])
def test_decisions_are_those_of_scikit_learn_with_the_same_covariance(rows: int, width: int, ridge: float) -> None:
    draw = np.random.default_rng(rows + width)
    present = np.arange(rows) % 2 == 1
    features = draw.normal(size=(rows, width)) + present[:, None] * draw.normal(size=width)
    means = np.stack([features[~present].mean(0), features[present].mean(0)])
    trace = ((features - means[present.astype(int)]) ** 2).sum() / (rows - 1)
    own = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Ridged(ridge * trace / rows), priors=[0.5, 0.5]
    ).fit(features, present)
    [(weight, bias)] = discriminants(features, present, [ridge])
    test = draw.normal(size=(30, width))
    expected = own.decision_function(test) * width / rows
    assert test @ weight + bias == pytest.approx(expected, abs=1e-9 * np.abs(expected).max())


def test_one_row_a_class_gives_the_nearest_mean_and_no_nan() -> None:
    [(weight, bias)] = discriminants(np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([False, True]), [1.0])
    assert np.isfinite(weight).all()
    assert np.sign(np.array([[0.0, 0.5], [2.0, 1.5]]) @ weight + bias).tolist() == [-1, 1]


def test_more_rows_lower_the_error_on_gaussian_classes() -> None:
    test = gaussians(99, rows=2000, missing=False)
    errors = []
    for rows in (8, 32, 512):
        wrong = []
        for seed in range(5):
            probe = Gda(ridges=(1.0,)).fit(gaussians(seed, rows=rows), gaussians(seed + 50), {})
            wrong.append(np.mean((probe.log_odds(test.features)[:, 0] > 0) != test.labels["edema"]))
        errors.append(np.mean(wrong))
    assert errors[0] > errors[1] > errors[2]


def test_a_vanishing_weight_leaves_the_words_and_a_large_one_the_gaussians() -> None:
    train, validation = gaussians(0), gaussians(1)
    bank = {name: np.eye(12)[5 + k] for k, name in enumerate(train.labels)}
    plain = Gda(ridges=(1.0,), standardise=False, refit=False).fit(train, validation, {}).log_odds(validation.features)

    def with_words(weight: float) -> np.ndarray:
        probe = Gda(ridges=(1.0,), weights=(weight,), standardise=False, refit=False).fit(train, validation, bank)
        return probe.log_odds(validation.features)

    assert with_words(1e-12) == pytest.approx(100 * validation.features[:, 5:7], abs=1e-6)
    assert with_words(3.0) == pytest.approx(100 * validation.features[:, 5:7] + 3 * plain, abs=1e-6)


@pytest.mark.parametrize("probe", [Gda(), Gda(standardise=False), Ensemble()])
def test_of_a_finding_of_one_class_words_alone_speak(probe: Gda | Ensemble) -> None:
    """Such as a rare one in a fold without it."""
    rows = gaussians(0).features
    labels, words = np.stack([rows[:, 0] > 3, rows[:, 1] > -99], axis=1).astype(float), np.eye(2, 12)
    grid = probe.grid(words)
    shares = [weight if isinstance(probe, Ensemble) else 1.0 for _, weight in grid]
    for share, each in zip(shares, probe.candidates(rows, labels, words, grid), strict=True):
        assert np.array_equal(each["output.weight"][1], 100 * share * words[1])
        assert each["output.bias"][1] == 0
        assert each["output.bias"][0] != 0


@pytest.mark.parametrize("standardise", [True, False])
def test_columns_are_of_unit_variance_where_that_is_asked_for(standardise: bool) -> None:
    train, validation = gaussians(0, missing=False), gaussians(1)
    train.features[:, 2] *= 7
    probe = Gda(ridges=(0.5,), standardise=standardise, refit=False).fit(train, validation, {})
    mean, scale = (train.features.mean(axis=0), train.features.std(axis=0)) if standardise else (0.0, 1.0)
    for k, truth in enumerate(train.labels.values()):
        [(weight, bias)] = discriminants((train.features - mean) / scale, truth == 1, [0.5])
        expected = (validation.features - mean) / scale @ weight + bias
        assert probe.log_odds(validation.features)[:, k] == pytest.approx(expected, abs=1e-8)


def test_faulty_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"probe.ridges is \[\]: tuple should have at least 1 item"):
        build("adaptation", {"name": "gda", "ridges": []}, where="probe")
    with pytest.raises(ConfigError, match=r"probe\.weights\[0\] is -1.0: input should be greater than 0"):
        build("adaptation", {"name": "gda", "weights": [-1.0]}, where="probe")
