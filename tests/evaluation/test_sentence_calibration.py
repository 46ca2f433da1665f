"""Sentences calibrated on other patients: base rates by what is said, and what sight adds to them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from medvlp.answers.sentences.calibration import SentenceCalibration
from medvlp.answers.sentences.evaluator import SentenceEvaluator, evidence
from medvlp.answers.sentences.rows import Studies, evaluate_sentences
from medvlp.core.errors import DataError
from medvlp.evaluation.sentence_check import _fit_checker, evaluate_sentence_check, fit_sentence_calibration
from tests.evaluation.test_sentence_check import PATIENTS, TRUE, embed

OTHERS = [f"v{patient}" for patient in PATIENTS]
PHRASES = ("Small left pleural effusion.", "Large right pneumothorax.", "No pneumothorax.", "There is no effusion.")


def drawn(rows: int, *, sight: float, seed: int = 0) -> pd.DataFrame:
    """Return sentences of which 9 of 10 denials and half of the sides are true, and a margin that sees `sight`."""
    generator = np.random.default_rng(seed)
    kind = generator.choice(["side", "negation"], size=rows)
    said = np.where(kind == "side", generator.choice(["left", "right"], size=rows), "absent")
    true = generator.random(rows) < np.where(kind == "side", 0.5, 0.9)
    return pd.DataFrame(
        {
            "patient_id": [str(i // 2) for i in range(rows)],
            "kind": kind,
            "finding": generator.choice(["effusion", "nodule"], size=rows),
            "said": said,
            "true": true.astype(np.float64),
            "seen": sight * (2 * true - 1) + generator.normal(size=rows),
        }
    )


def test_the_prior_is_the_base_rate_of_what_is_said() -> None:
    table = drawn(6000, sight=1.0)
    found = fit_sentence_calibration(table, sees=False).probabilities(table)
    for _, rows in table.groupby(["kind", "finding", "said"]):
        assert len(set(found[rows.index])) == 1
        assert found[rows.index[0]] == pytest.approx(rows["true"].mean(), abs=0.01)


def test_calibrated_probabilities_are_the_posterior() -> None:
    """Normal noise of deviation 1 around -s and s: the log-odds of true rise by 2 s a unit, from the base rate's."""
    fitted, fresh = fit_sentence_calibration(drawn(20_000, sight=0.5)), drawn(2000, sight=0.5, seed=1)
    prior = np.where(fresh["kind"] == "side", 0.5, 0.9)
    exact = 1 / (1 + np.exp(-np.log(prior / (1 - prior)) - 2 * 0.5 * fresh["seen"]))
    apart = np.abs(fitted.probabilities(fresh) - exact)
    assert apart.max() < 0.1
    assert apart.mean() < 0.02


def test_few_patients_promise_nothing_however_many_sentences_they_have() -> None:
    rows = drawn(200, sight=1.0).assign(patient_id=[str(i % 4) for i in range(200)])
    sets = _fit_checker(rows, np.zeros(4, np.float32)).sets
    assert set(sets) == {"side", "negation"}
    assert {(rule.present_from, rule.absent_to) for rule in sets.values()} == {(None, None)}


def test_who_sees_nothing_is_left_with_the_prior() -> None:
    table = drawn(500, sight=0.0).assign(seen=0.0)
    found = [fit_sentence_calibration(table, sees=sees).probabilities(table) for sees in (True, False)]
    np.testing.assert_allclose(*found, atol=1e-7)


def test_the_stored_numbers_are_the_map() -> None:
    table = drawn(500, sight=1.0)
    fitted = fit_sentence_calibration(table)
    again = SentenceCalibration(**json.loads(json.dumps(fitted.to_dict())))
    assert again.probabilities(table).tolist() == fitted.probabilities(table).tolist()
    assert (fitted.n, fitted.patients, fitted.strength) == (500, 250, 1.0)


def test_what_validation_never_said_has_the_common_intercept_and_its_kinds_slope() -> None:
    fitted = fit_sentence_calibration(drawn(500, sight=1.0))
    row = pd.DataFrame({"kind": ["side"], "finding": ["hernia"], "said": ["left"], "seen": [0.3]})
    assert fitted.knows(row).tolist() == [False]
    expected = 1 / (1 + np.exp(-fitted.intercept - fitted.slope["side"] * 0.3 / fitted.scale))
    assert fitted.probabilities(row)[0] == pytest.approx(expected, abs=1e-12)


def test_verdicts_err_as_seldom_as_promised_and_base_rates_decide_none() -> None:
    """Nine of ten denials are true: their prior alone says so of every one, and supports none."""
    judge = _fit_checker(drawn(12_000, sight=1.0), np.zeros(2))
    fresh = drawn(12_000, sight=1.0, seed=1)
    verdicts, true = judge.verdicts(fresh), fresh["true"].to_numpy() == 1
    for kind in ("side", "negation"):
        own = fresh["kind"].to_numpy() == kind
        assert np.mean(verdicts[own & true] == "contradicted") == pytest.approx(0.1, abs=0.03)
        assert np.mean(verdicts[own & ~true] == "supported") == pytest.approx(0.1, abs=0.03)
        assert np.mean(verdicts[own & true] == "supported") > 0.4
    moved = evidence(judge.calibration, judge.prior, fresh.assign(seen=0.0))
    assert np.abs(moved[fresh["kind"] == "negation"]).max() < 1.5  # the prior, 2.2 there, is taken off
    blind = judge.verdicts(fresh.assign(seen=0.0))
    assert set(blind) == {"undecided"}
    assert set(judge.verdicts(fresh.assign(said="never heard"))) == {"not_judged"}
    again = SentenceEvaluator.of(json.loads(json.dumps(judge.to_plain())))
    assert again.verdicts(fresh).tolist() == verdicts.tolist()
    with pytest.raises(DataError, match="calibration of sentences cannot be read"):
        SentenceEvaluator.of({"sets": {}})


def told(reports: list[str], patients: list[str], image: np.ndarray, validation: Studies | None):
    facts = {"seed": 0, "resamples": 50, "validation": validation}
    return evaluate_sentence_check(image, reports, patients, embed, **facts)


def test_the_fit_is_of_the_validation_sentences_alone() -> None:
    validation = Studies(embed(TRUE), TRUE, OTHERS)
    found = told(TRUE, PATIENTS, embed(TRUE), validation)
    other = told(TRUE[:2], PATIENTS[:2], -embed(TRUE[:2]), validation)
    assert found.fitted == other.fitted
    rows = evaluate_sentences(validation, embed, mean_image=embed(TRUE).mean(axis=0))
    assert found.fitted["sentences"]["calibration"] == fit_sentence_calibration(rows.table).to_dict()
    assert found.cases is not None
    cases = found.cases.rename(columns={"group:kind": "kind"})
    again = SentenceCalibration(**found.fitted["sentences"]["calibration"]).probabilities(cases)
    assert again.tolist() == cases["score:sentence_calibrated"].tolist()


def test_the_difference_is_what_sight_adds_to_base_rates() -> None:
    generator = np.random.default_rng(0)
    reports = generator.choice(PHRASES, size=80, p=[0.2, 0.2, 0.3, 0.3]).tolist()
    image = embed(reports) + 0.3 * generator.normal(size=(80, 64))
    people = [str(i) for i in range(80)]
    validation = Studies(image[:40], reports[:40], people[:40])
    found = told(reports[40:], people[40:], image[40:], validation)
    for group in (None, "kind=negation", "kind=severity", "kind=side"):
        row = found.find("auroc_difference", "sentence_calibrated", group=group)
        first, second = (found.find("auroc", f"sentence_{x}", group=group).value for x in ("prior", "calibrated"))
        assert (row.test.first, row.test.second) == (pytest.approx(first), pytest.approx(second))
        assert row.value == pytest.approx(second - first)
        if row.test.p is not None:
            assert row.interval.low <= row.value <= row.interval.high
            assert row.test.p_corrected >= row.test.p
    assert found.find("auroc_difference", "sentence_calibrated").value > 0
    assert [found.options[side]["name"] for side in ("first", "second")] == [
        "Base rates alone",
        "Calibrated probability",
    ]
    assert found.find("unknown_share", "sentence_calibrated").value == 0

    # The same images for everybody: nothing is seen, and base rates are all there is.
    blind = told(reports[40:], people[40:], np.ones((40, 64)), Studies(np.ones((40, 64)), reports[:40], people[:40]))
    assert blind.find("auroc", "sentence_alike").value == 0.5
    row = blind.find("auroc_difference", "sentence_calibrated")
    assert row.value == pytest.approx(0.0, abs=1e-12)
    assert row.test.p == 1

    few = told(reports[40:], [f"t{i % 4}" for i in range(40)], image[40:], validation)
    row = few.find("auroc_difference", "sentence_calibrated")
    assert (row.reason, row.interval.low, row.test.p) == ("too_few_positives", None, None)
    assert row.value is not None


def test_without_validation_nothing_is_calibrated_and_shared_patients_are_refused() -> None:
    for validation in (None, Studies(embed(["Hello."]), ["Hello."], ["v"])):
        found = told(TRUE, PATIENTS, embed(TRUE), validation)
        assert not found.fitted
        assert not {"sentence_calibrated", "sentence_prior"} & {row.label for row in found.metrics}
    with pytest.raises(DataError, match=r"Patients in both parts: 1\. Calibrate sentences on other patients"):
        told(TRUE, PATIENTS, embed(TRUE), Studies(embed(TRUE), TRUE, [*OTHERS[1:], "0"]))
