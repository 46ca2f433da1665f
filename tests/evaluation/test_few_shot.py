"""Few shots: who is drawn, what is chosen by whom, and what the numbers are a mean of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from medvlp.core.answers import ProbeTable
from medvlp.core.errors import DataError
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.few_shot import draw_patients, fit_few_shot
from medvlp.evaluation.few_shot_results import evaluate_few_shot
from medvlp.evaluation.linear_classifier import STRENGTHS, fit_classifiers
from medvlp.statistics.attribute import attribute_scores
from medvlp.statistics.metrics import auroc


def table(seed: int, patients: int = 60, width: int = 40) -> ProbeTable:
    """Patients with one to three images; the first column tells the finding, uncertain and missing labels included."""
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(patients), generator.integers(1, 4, size=patients))
    features = generator.normal(size=(len(people), width))
    labels = (features[:, 0] + 0.5 * generator.normal(size=len(people)) > 0).astype(float)
    labels[::11], labels[5::11] = -1, np.nan
    return ProbeTable(features, {"edema": labels}, [f"{seed}/{who}" for who in people])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(1, 12))
def test_a_draw_has_as_many_of_each_class_from_as_many_patients_and_holds_the_smaller_draw(
    seed: int, draw: int, shots: int
) -> None:
    data = table(seed % 1000)
    people = np.asarray(data.patients)
    rows = draw_patients(data.labels["edema"], data.patients, shots=shots, seed=seed, draw=draw)
    assert data.labels["edema"][rows].tolist() == [[0.0] * shots, [1.0] * shots]
    assert len(set(people[rows].ravel())) == 2 * shots
    smaller = draw_patients(data.labels["edema"], data.patients, shots=max(1, shots - 1), seed=seed, draw=draw)
    assert np.array_equal(rows[:, : smaller.shape[1]], smaller)


def test_draws_differ_by_draw_seed_and_finding_and_repeat() -> None:
    data = table(0)

    def drawn(seed: int, draw: int, name: str) -> list[int]:
        return (
            draw_patients(data.labels["edema"], data.patients, shots=4, seed=seed, draw=draw, name=name)
            .ravel()
            .tolist()
        )

    found = [drawn(*each) for each in ((0, 0, "edema"), (0, 1, "edema"), (1, 0, "edema"), (0, 0, "mass"))]
    assert len({tuple(rows) for rows in found}) == 4
    assert drawn(0, 0, "edema") == found[0]


def test_every_patient_is_drawn_equally_often() -> None:
    labels, people = [1.0] * 6 + [0.0] * 6, list("abcdefghijkl")
    counts = np.zeros(12)
    for draw in range(600):
        counts[draw_patients(labels, people, shots=2, seed=0, draw=draw).ravel()] += 1
    assert counts == pytest.approx(200, abs=5 * np.sqrt(600 * (1 / 3) * (2 / 3)))


def test_every_picture_of_a_patient_is_drawn_equally_often() -> None:
    drawn = [draw_patients([1, 1, 1, 0], list("aaab"), shots=1, seed=0, draw=draw)[1, 0] for draw in range(600)]
    assert np.bincount(drawn) == pytest.approx(200, abs=5 * np.sqrt(600 * (1 / 3) * (2 / 3)))


def test_of_strengths_that_are_as_good_the_weakest_is_chosen() -> None:
    line = np.linspace(-1, 1, 20)[:, None]
    tables = (ProbeTable(line, {"edema": line[:, 0] > 0}, [f"{side}{i}" for i in range(20)]) for side in "ab")
    few = fit_few_shot(*tables, shots=[2], draws=2, seed=0)
    assert (few.fitted["edema"][2].validation_auroc, few.fitted["edema"][2].strength) == (1.0, min(STRENGTHS))


def test_too_few_patients_are_refused_with_their_number() -> None:
    # Four images with the finding, of two patients, one of whom has one without it as well.
    labels, people = [1, 1, 1, 1, 0, 0, 0], list("aaabbcd")
    with pytest.raises(
        DataError,
        match=r"3 shots of edema need 3 training patients with it and 3 others without, and there are 2 and 3",
    ):
        draw_patients(labels, people, shots=3, seed=0, draw=0, name="edema")


def test_weights_in_the_span_of_the_rows_are_the_weights() -> None:
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(6, 50)), np.array([True, False] * 3)
    for model in fit_classifiers(features, target, strengths=(0.01, 1.0)):
        plain = LogisticRegression(C=model.strength, solver="newton-cg", tol=1e-12, max_iter=2000).fit(features, target)
        assert model.weight == pytest.approx(plain.coef_[0], abs=1e-8)
        assert model.bias == pytest.approx(plain.intercept_[0], abs=1e-8)


def test_one_strength_is_chosen_by_the_mean_over_draws_on_validation() -> None:
    train, validation = table(0), table(1)
    few = fit_few_shot(train, validation, shots=[1, 4], draws=5, seed=3)
    mean, scale = train.features.mean(axis=0), train.features.std(axis=0)
    known = np.isin(validation.labels["edema"], (0, 1))
    values = []
    for strength in STRENGTHS:
        each = []
        for draw in range(5):
            rows = draw_patients(
                train.labels["edema"], train.patients, shots=4, seed=3, draw=draw, name="edema"
            ).ravel()
            model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000)
            model.fit(((train.features - mean) / scale)[rows], train.labels["edema"][rows])
            scores = model.decision_function(((validation.features - mean) / scale)[known])
            each.append(auroc(validation.labels["edema"][known], scores))
        values.append(np.mean(each))
    found = few.fitted["edema"][4]
    assert found.strength == STRENGTHS[int(np.argmax(values))]
    assert found.validation_auroc == pytest.approx(max(values), abs=1e-9)
    # The test has no part in it: its scores are linear in its features.
    test = table(2).features
    scores = few.scores(test)["edema"][4]
    assert scores.shape == (5, len(test))
    assert scores == pytest.approx(found.weight @ ((test - mean) / scale).T + found.bias[:, None])


def test_what_cannot_be_drawn_is_left_out_by_name_and_shared_patients_are_refused() -> None:
    train, validation = table(0, patients=12), table(1)
    few = fit_few_shot(train, validation, shots=[2, 16], draws=2, seed=0)
    assert list(few.fitted["edema"]) == [2]
    assert "16 shots of edema need 16 training patients" in few.left_out["edema"][16]
    with pytest.raises(DataError, match="No finding has enough training patients of both classes"):
        fit_few_shot(train, validation, shots=[16], draws=2, seed=0)
    with pytest.raises(DataError, match=r"Patients in training and in validation: \d+\. Split by patient"):
        fit_few_shot(train, train, shots=[1], draws=2, seed=0)


def test_the_number_is_the_mean_over_draws_and_its_intervals_hold_patients_and_draws() -> None:
    train, validation, test = table(0), table(1), table(2, patients=100)
    few = fit_few_shot(train, validation, shots=[1, 8], draws=10, seed=0)
    scores, truth = few.scores(test.features), test.labels["edema"]
    ids = [str(row) for row in range(len(truth))]
    options = {"ids": ids, "seed": 0, "resamples": 200}
    result = evaluate_few_shot(scores, {"edema": truth}, test.patients, **options)
    known = np.isin(truth, (0, 1))
    single = [auroc(truth[known], draw[known]) for draw in scores["edema"][1]]
    row = result.find("auroc@1", "edema")
    assert row.value == pytest.approx(np.mean(single))
    assert (row.counts.draws, row.interval.draws_low, row.interval.draws_high) == (
        10,
        *np.quantile(single, [0.025, 0.975]),
    )
    assert row.interval.low < row.value < row.interval.high
    # Draws that agree leave the doubt of the patients alone: that of one classifier's scores.
    draw = scores["edema"][1][0]
    same = {"edema": {1: np.repeat(draw[None], 10, axis=0)}}
    alone = evaluate_few_shot(same, {"edema": truth}, test.patients, **options).find("auroc@1", "edema")
    frame = pd.DataFrame({"id": ids, "patient_id": test.patients, "label:edema": truth, "score:edema": draw})
    plain = evaluate_scores(frame, seed=0, resamples=200).find("auroc", "edema")
    assert (alone.interval.low, alone.interval.high) == pytest.approx(
        (plain.interval.low, plain.interval.high), abs=1e-9
    )
    assert alone.interval.draws_low == alone.interval.draws_high == pytest.approx(plain.value)
    # Draws that differ widen it: the mean of ten is one of many means.
    spread = {"edema": {1: np.stack([draw, -draw] * 5)}}
    wide = evaluate_few_shot(spread, {"edema": truth}, test.patients, **options).find("auroc@1", "edema")
    assert (wide.value, wide.interval.low < 0.5 < wide.interval.high) == (pytest.approx(0.5), True)
    # The cases make the number again.
    stored = result.cases
    again = [auroc(truth[known], stored[f"few_shot:edema@1#{draw}"].to_numpy()[known]) for draw in range(10)]
    assert np.mean(again) == pytest.approx(row.value, abs=1e-6)


def test_the_macro_average_is_over_findings_with_enough_positives_and_one_class_is_told() -> None:
    generator = np.random.default_rng(0)
    scores = {name: {2: generator.normal(size=(4, 50))} for name in ("edema", "mass", "hernia")}
    labels = {"edema": np.arange(50) % 2.0, "mass": np.arange(50) == 0, "hernia": np.zeros(50)}
    labels["edema"][46:] = np.nan
    people = [str(row) for row in range(50)]
    options = {"ids": people, "seed": 0, "resamples": 50, "min_positives": 5}
    result = evaluate_few_shot(scores, labels, people, **options)
    macro, edema = result.find("auroc@2", "macro"), result.find("auroc@2", "edema")
    assert (macro.value, macro.counts.labels_used, macro.counts.min_positives) == (edema.value, 1, 5)
    assert (macro.counts.n, macro.counts.patients) == (edema.counts.n, edema.counts.patients) == (46, 46)
    assert (result.find("auroc@2", "hernia").value, result.find("auroc@2", "hernia").reason) == (None, "no_positives")
    assert result.find("auroc@2", "mass").reason == "too_few_positives"
    assert result.find("auroc@2", "mass").interval.low is None
    assert result.find("auroc@2", "mass").interval.draws_low is not None
    with pytest.raises(DataError, match="scores of 'mass' and no labels"):
        evaluate_few_shot(scores, {"edema": labels["edema"]}, people, **options)
    with pytest.raises(DataError, match="of 'edema' have different lengths"):
        evaluate_few_shot(scores, labels, people[:-1], **options)


def test_the_macro_interval_of_draws_that_agree_is_that_of_one_classifier() -> None:
    """So it rests on the patients of all findings, as that of any ranking does."""
    generator, names = np.random.default_rng(0), [f"{at:02d}" for at in range(60)]
    truth = {"edema": (np.arange(60) % 4 == 0) * 1.0, "mass": (np.arange(60) % 5 == 0) * 1.0}
    score = {name: each + generator.normal(size=60) for name, each in truth.items()}
    options = {"seed": 0, "resamples": 60}
    frame = pd.DataFrame({"id": names, "patient_id": names})
    for name in truth:
        frame = frame.assign(**{f"label:{name}": truth[name], f"score:{name}": score[name]})
    plain = evaluate_scores(frame, **options).find("auroc", "macro").interval
    draws = {name: {4: np.repeat(each[None], 3, axis=0)} for name, each in score.items()}
    found = evaluate_few_shot(draws, truth, names, ids=names, **options).find("auroc@4", "macro").interval
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-9)


def test_draws_that_all_divide_the_classes_leave_no_interval() -> None:
    """No resample differs: an interval from 1 to 1 would be a claim that 20 patients of a class do not bear."""
    truth, people = np.arange(40) >= 20, [str(row) for row in range(40)]
    scores = {name: {1: np.stack([truth + 0.01 * np.arange(40)] * 3)} for name in ("edema", "mass")}
    options = {"seed": 0, "resamples": 50}
    found = evaluate_few_shot(scores, dict.fromkeys(scores, truth), people, people, **options)
    for label in ("edema", "mass", "macro"):
        row = found.find("auroc@1", label)
        assert (row.value, row.interval.low, row.interval.high, row.reason) == (1.0, None, None, "separated")


def test_a_number_is_the_same_value_where_gaps_made_it_a_float_and_a_gap_is_none() -> None:
    scores = attribute_scores(np.array([1.0, 2.0, np.nan, 1.0]), np.array([1, 1, 2, 2]), [1, 1, 0, 0])
    assert scores.tolist() == [0.75, 0.25, 0.5, 0.75]
    # In training a gap is no value either: what is unknown scores as all rows together.
    train = [1.0, 1.0, np.nan, 0.5]
    assert attribute_scores([np.nan, 1, 0.5], train, [1, 1, 0, 0]) == pytest.approx([3 / 6, 3 / 4, 1 / 3])


def test_an_attribute_scores_by_its_training_rate_alone() -> None:
    views, labels = ["AP"] * 6 + ["PA"] * 4 + [None], [1, 1, 1, 0, -1, np.nan, 0, 0, 0, 1, 1]
    scores = attribute_scores(["PA", "AP", None, "LL"], views, labels)
    assert scores == pytest.approx([2 / 6, 4 / 6, 6 / 11, 6 / 11])
    with pytest.raises(DataError, match=r"There are 11 training values and labels \(10,\)"):
        attribute_scores(["PA"], views, labels[:-1])
