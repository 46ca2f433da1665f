"""The linear probe standardises by training rows, chooses on validation rows, and refuses shared patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medvlp.adaptation.linear import Linear
from medvlp.core.answers import FEATURES, Ask, ProbeTable, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.core.table import FeatureTable
from medvlp.statistics.metrics import auroc


def table(seed: int, rows: int = 120, width: int = 6) -> ProbeTable:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, width)) * np.logspace(0, 3, width) + 5
    effusion = (features[:, 0] + generator.normal(size=rows) > 5).astype(float)
    effusion[::10], effusion[5::10] = -1, np.nan
    labels = {"effusion": effusion, "nodule": (features[:, 1] > 5).astype(float)}
    return ProbeTable(features, labels, [f"{seed}-{row}" for row in range(rows)])


def test_scores_are_the_logistic_regression_that_is_best_on_validation() -> None:
    train, validation = table(0), table(1)
    probe = Linear(strengths=(0.001, 0.1, 10.0), refit=False).fit(train, validation, {})
    mean, scale = train.features.mean(axis=0), train.features.std(axis=0)
    truth, checked = train.labels["effusion"], validation.labels["effusion"]
    known, held_out = np.isin(truth, (0, 1)), np.isin(checked, (0, 1))
    best, value = None, -1.0
    for strength in (0.001, 0.1, 10.0):
        model = LogisticRegression(C=strength, solver="newton-cg", tol=1e-12, max_iter=2000).fit(
            ((train.features - mean) / scale)[known], truth[known]
        )
        got = auroc(checked[held_out], model.decision_function(((validation.features - mean) / scale)[held_out]))
        if got > value:
            best, value = model, got
    test = table(2)
    said = probe.answer(Rows(FeatureTable(test.patients, {FEATURES: test.features})), Ask(), None)
    assert said.scores is not None
    assert said.scores["effusion"] == pytest.approx(best.decision_function((test.features - mean) / scale), abs=1e-9)
    assert (0.001, 0.1, 10.0)[probe.chosen["effusion"]] == best.C
    assert probe.validation_auroc["effusion"] == pytest.approx(value)


def test_the_chosen_strength_is_fitted_again_on_training_and_validation_rows() -> None:
    train, validation, test = table(0), table(1), table(2)
    strengths = (0.001, 0.1, 10.0)
    chosen = Linear(strengths=strengths, refit=False).fit(train, validation, {})
    probe = Linear(strengths=strengths).fit(train, validation, {})
    both = np.concatenate([train.features, validation.features])
    mean, scale = both.mean(axis=0), both.std(axis=0)
    rows = Rows(FeatureTable(test.patients, {FEATURES: test.features}))
    said = probe.answer(rows, Ask(), None)
    assert said.scores is not None
    for label in ("effusion", "nodule"):
        truth = np.concatenate([train.labels[label], validation.labels[label]])
        known = np.isin(truth, (0, 1))
        strength = strengths[chosen.chosen[label]]
        model = LogisticRegression(C=strength, solver="newton-cg", tol=1e-12, max_iter=2000)
        model.fit(((both - mean) / scale)[known], truth[known])
        expected = model.decision_function((test.features - mean) / scale)
        assert said.scores[label] == pytest.approx(expected, abs=1e-8)
        assert probe.chosen[label] == chosen.chosen[label]
    # What validation said of the choice is what it said before the second fit.
    assert probe.validation_auroc == chosen.validation_auroc
    assert (probe.title, chosen.title) == ("Linear probe, fitted on training and validation patients", "Linear probe")


def test_it_says_only_what_it_is_asked_for() -> None:
    probe = Linear().fit(table(0), table(1), {})
    rows = Rows(FeatureTable(["a"], {FEATURES: np.ones((1, 6))}))
    assert list(probe.answer(rows, Ask(findings=("nodule",)), None).scores or ()) == ["nodule"]
    assert probe.labels == ("effusion", "nodule")


def test_units_of_the_features_do_not_matter() -> None:
    train, validation = table(0), table(1)
    scaled = [replace(part, features=part.features * 1000 - 7) for part in (train, validation)]
    scores = Linear().fit(train, validation, {}).log_odds(validation.features)
    assert Linear().fit(*scaled, {}).log_odds(scaled[1].features) == pytest.approx(scores, abs=1e-6)


def test_a_constant_feature_carries_nothing() -> None:
    train, validation = table(0), table(1)
    train.features[:, 3] = 0.1
    probe = Linear(refit=False).fit(train, validation, {})
    moved = validation.features.copy()
    moved[:, 3] += 1e6
    assert np.array_equal(probe.log_odds(moved), probe.log_odds(validation.features))


def test_findings_of_one_class_are_left_out_by_name_and_unchosen_ones_are_marked() -> None:
    train, validation = table(0), table(1)
    train.labels["nodule"][:] = 0
    probe = Linear().fit(train, validation, {})
    assert probe.left_out == {"nodule": "no_positives"}
    rows = Rows(FeatureTable(["a"], {FEATURES: np.ones((1, 6))}))
    assert probe.answer(rows, Ask(), None).notes == ("No probe of nodule: no positives in training.",)
    train, validation = table(0), table(1)
    validation.labels["nodule"][:] = 1
    probe = Linear(strengths=(0.1, 1.0, 10.0)).fit(train, validation, {})
    assert np.isnan(probe.validation_auroc["nodule"])
    assert probe.chosen["nodule"] == 1


def test_shared_patients_and_bad_shapes_are_refused() -> None:
    train, validation = table(0), table(1)
    with pytest.raises(DataError, match=r"Patients in training and in validation: 120\. Split by patient"):
        Linear().fit(train, train, {})
    short = replace(train, labels={"effusion": train.labels["effusion"][:7]})
    with pytest.raises(
        DataError, match=r"Training has features \(120, 6\), 120 patients and labels of effusion 7 rows: give one row"
    ):
        Linear().fit(short, validation, {})
    other = replace(validation, labels={"effusion": validation.labels["effusion"]})
    with pytest.raises(DataError, match="Validation has no labels of nodule: give both tables the same findings"):
        Linear().fit(train, other, {})
    broken = train.features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="Features hold 1 NaN or infinite values"):
        Linear().fit(replace(train, features=broken), validation, {})
    with pytest.raises(DataError, match=r"Features have shape \(2, 3\), expected \(N, 6\)"):
        Linear().fit(train, validation, {}).log_odds(np.ones((2, 3)))
    for labels in train.labels.values():
        labels[:] = 0
    with pytest.raises(DataError, match="No finding has both classes"):
        Linear().fit(train, validation, {})
    with pytest.raises(ConfigError, match=r"probe\.strengths\[0\] is 0.0: input should be greater than 0"):
        build("adaptation", {"name": "linear", "strengths": [0.0]}, where="probe")
