"""Maps to probabilities: the optimum of their likelihood, never another ranking, read back as they were written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from medvlp.core.errors import DataError
from medvlp.statistics.calibration.calibrators import CALIBRATORS, Calibrator, log_odds
from medvlp.statistics.calibration.fit import fit_calibrator, scale_of
from medvlp.statistics.calibration.logistic import fit_logistic
from medvlp.statistics.metrics import UndefinedMetricError, auroc


def _rows(n: int = 3000, seed: int = 0, temperature: float = 1.0):
    generator = np.random.default_rng(seed)
    z = generator.normal(size=n) * 1.5 - 0.5
    return generator.random(n) < expit(z), z * temperature


def _soft(labels: np.ndarray) -> np.ndarray:
    positives, n = labels.sum(), len(labels)
    return np.where(labels, (positives + 1) / (positives + 2), 1 / (n - positives + 2))


def _loss(p: np.ndarray, target: np.ndarray) -> float:
    return float(-np.mean(target * np.log(p) + (1 - target) * np.log1p(-p)))


def test_temperature_finds_the_temperature_and_changes_no_call() -> None:
    labels, z = _rows(20_000, temperature=2.5)
    map_ = fit_calibrator("temperature", labels, z, scale="log_odds")
    assert map_.parameters["temperature"][0] == pytest.approx(2.5, rel=0.05)
    p = map_.probabilities(z)
    assert ((p >= 0.5) == (z >= 0)).all()
    assert log_loss(labels, p) <= log_loss(labels, expit(z))
    for other in (0.99, 1.01):
        assert log_loss(labels, p) <= log_loss(labels, expit(z / map_.parameters["temperature"][0] * other))


def test_platt_is_the_logistic_regression_of_softened_targets() -> None:
    labels, z = _rows(temperature=3.0)
    map_ = fit_calibrator("platt", labels, z, scale="log_odds")
    soft = _soft(labels)
    weighted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(z, 2)[:, None], np.repeat([1, 0], len(z)), sample_weight=np.concatenate([soft, 1 - soft])
    )
    assert map_.parameters["slope"][0] == pytest.approx(weighted.coef_[0, 0], rel=1e-4)
    assert map_.parameters["intercept"][0] == pytest.approx(weighted.intercept_[0], rel=1e-3)


def test_dirichlet_holds_platt_as_a_case_and_is_no_worse() -> None:
    labels, z = _rows()
    p = expit(z)
    platt, wide = (fit_calibrator(name, labels, p, scale="probability") for name in ("platt", "dirichlet"))
    soft = _soft(labels)
    assert _loss(wide.probabilities(p), soft) <= _loss(platt.probabilities(p), soft) + 1e-9
    same = Calibrator("dirichlet", "probability", {"present": (2.0,), "absent": (2.0,), "intercept": (0.3,)}, 1, 1)
    twin = Calibrator("platt", "probability", {"slope": (2.0,), "intercept": (0.3,)}, 1, 1)
    assert same.probabilities(p) == pytest.approx(twin.probabilities(p), abs=1e-12)


@pytest.mark.parametrize("middle", [-4.0, 4.0])
def test_dirichlet_of_scores_close_together_is_no_worse_than_the_prevalence_for_everybody(middle: float) -> None:
    """Its logarithms are nearly one column there, and the coefficients 0, 0 and c are allowed."""
    for seed in (34, 56, 61, 69, 109, 132):
        generator = np.random.default_rng(seed)
        z, labels = middle + 0.1 * generator.normal(size=150), generator.random(150) < 0.2
        soft = _soft(labels)
        map_ = fit_calibrator("dirichlet", labels, z, scale="log_odds")
        assert _loss(map_.probabilities(z), soft) <= _loss(np.full(150, soft.mean()), soft) + 1e-12


def test_isotonic_is_scikit_learns_on_new_scores_too() -> None:
    labels, z = _rows()
    z, new = np.round(z, 1), np.linspace(-9, 9, 500)
    map_ = fit_calibrator("isotonic", labels, z, scale="log_odds")
    theirs = IsotonicRegression(out_of_bounds="clip").fit(z, labels)
    assert map_.probabilities(new) == pytest.approx(theirs.predict(new), abs=1e-9)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_no_map_turns_a_ranking_round(name) -> None:
    labels, z = _rows()
    worse = fit_calibrator(name, ~labels, z, scale="log_odds")  # the classes are swapped: scores are worse than chance
    p = worse.probabilities(np.sort(z))
    assert (np.diff(p) >= -1e-12).all()
    assert ((p >= 0) & (p <= 1)).all()
    right = fit_calibrator(name, labels, z, scale="log_odds").probabilities(z)
    if name != "isotonic":
        assert auroc(labels, right) == pytest.approx(auroc(labels, z), abs=1e-12)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_classes_that_a_score_divides_still_give_finite_numbers(name) -> None:
    map_ = fit_calibrator(name, [0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0], scale="log_odds")
    assert np.isfinite(map_.probabilities([-50.0, 0.0, 50.0])).all()
    flat = fit_calibrator(name, [0, 0, 0, 1], [0.3, 0.3, 0.3, 0.3], scale="probability")
    assert np.isfinite(flat.probabilities([0.0, 1.0])).all()


@pytest.mark.parametrize("middle", [1000.0, -1000.0])
def test_of_scores_far_from_0_dirichlet_is_the_map_that_they_bear(middle: float) -> None:
    """There ln p is 0 on all rows (or ln (1 - p) is): its coefficient is not told, and other scores stay scores."""
    labels, z = _rows()
    map_ = fit_calibrator("dirichlet", labels, z + middle, scale="log_odds")
    assert min(abs(map_.parameters[key][0]) for key in ("present", "absent")) == 0.0
    assert max(abs(map_.parameters[key][0]) for key in ("present", "absent")) < 10
    platt = fit_calibrator("platt", labels, z + middle, scale="log_odds")
    np.testing.assert_allclose(map_.probabilities(z + middle), platt.probabilities(z + middle), atol=1e-4)
    p = map_.probabilities([middle - 20, middle, middle + 20, 0.0])
    assert ((p > 0) & (p < 1))[:3].all()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_plain_data_gives_the_same_map(name) -> None:
    labels, z = _rows(500)
    map_ = fit_calibrator(name, labels, z, scale="log_odds")
    again = Calibrator.from_dict(map_.to_dict())
    assert again == map_
    assert (again.probabilities(z) == map_.probabilities(z)).all()
    assert (again.n, again.positives) == (500, int(labels.sum()))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "pickle"},
        {"scale": "logits"},
        {"parameters": {"slope": [1.0]}},
        {"parameters": {"slope": [1.0], "intercept": [float("nan")]}},
        {"parameters": {"slope": [], "intercept": [1.0]}},
        {"n": None},
    ],
)
def test_a_damaged_map_is_refused(change) -> None:
    entry = fit_calibrator("platt", [0, 1, 0, 1], [0.1, 0.4, 0.6, 0.8], scale="probability").to_dict()
    with pytest.raises(DataError, match=r"A stored calibration cannot be read .*: fit it again"):
        Calibrator.from_dict({**entry, **change})


def test_scores_of_another_kind_are_refused() -> None:
    assert scale_of(np.array([0.0, 1.0])) == "probability"
    map_ = fit_calibrator("platt", [0, 1, 0, 1], [0.1, 0.4, 0.6, 0.8], scale="probability")
    with pytest.raises(DataError, match=r"Scores lie outside \[0, 1\] in 1 of \d+ rows, the first is 1.2"):
        map_.probabilities([0.5, 1.2])
    with pytest.raises(DataError, match="NaN or infinite"):
        map_.probabilities([np.nan])
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        fit_calibrator("platt", [0, 1], [0.1, 1.4], scale="probability")
    with pytest.raises(
        UndefinedMetricError, match="No calibration can be fitted on validation rows: the 2 rows hold no negatives"
    ):
        fit_calibrator("platt", [1, 1], [0.1, 0.4], scale="probability")


def test_log_odds_of_certainty_are_finite() -> None:
    assert log_odds(np.array([0.0, 0.5, 1.0]), "probability") == pytest.approx([-27.63, 0, 27.63], abs=0.01)


def test_a_fit_without_a_finite_maximum_is_refused() -> None:
    with pytest.raises(UndefinedMetricError, match="has no finite solution") as caught:
        fit_logistic(np.array([[-1.0, 1], [-2, 1], [1, 1], [2, 1]]), np.array([0.0, 0, 1, 1]))
    assert caught.value.reason == "separated"


@pytest.mark.parametrize("spread", [0.0, 1e-15, 1e-12, 1e-9])
def test_a_column_that_differs_by_rounding_only_has_no_fit(spread: float) -> None:
    """Its inverse is made of rounding: variances below 0, and then a p that is no number."""
    draws = np.random.default_rng(0)
    design = np.stack([0.3 + spread * draws.normal(size=60), np.ones(60)], axis=1)
    with pytest.raises(UndefinedMetricError) as caught:
        fit_logistic(design, draws.integers(0, 2, 60).astype(np.float64))
    assert caught.value.reason == "separated"


def test_the_unit_of_a_column_does_not_matter() -> None:
    draws = np.random.default_rng(1)
    z, y = draws.normal(size=200), draws.integers(0, 2, 200).astype(np.float64)
    small, plain = (fit_logistic(np.stack([unit * z, np.ones(200)], axis=1), y) for unit in (1e-9, 1.0))
    assert 1e-9 * small.coefficients[0] == pytest.approx(plain.coefficients[0], rel=1e-6)


def test_the_logit_of_a_probability_is_its_log_odds() -> None:
    p = np.linspace(0.001, 0.999, 50)
    assert log_odds(p, "probability") == pytest.approx(logit(p), abs=1e-12)
