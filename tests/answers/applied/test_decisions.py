"""What a bundle says of scores: probabilities and categories, of the answer that they were chosen for and no other."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import logit
from typer.testing import CliRunner

from medvlp.answers.applied.decisions import read_decisions
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.cli.main import app
from medvlp.core.errors import DataError
from medvlp.data.layouts.phantom import index
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from medvlp.runs.fitting import store_fitted
from medvlp.statistics.calibration.fit import fit_calibrator
from medvlp.statistics.conformal import fit_sets
from medvlp.statistics.operating_points import fit_operating_point, parse_rule

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def fitted(positives: int, negatives: int, shift: float = 0.0, patients: int = 5) -> FittedFinding:
    truth = np.repeat([1, 0], [positives, negatives])
    scores = np.clip(np.linspace(0.9, 0.1, len(truth)) - shift, 0.01, 0.99)
    return FittedFinding(
        points=(fit_operating_point(truth, scores, parse_rule("youden")),),
        calibrators=tuple(fit_calibrator(n, truth, scores, scale="probability") for n in ("temperature", "platt")),
        sets=fit_sets(truth, scores, level=0.9),
        patients=patients,
    )


@pytest.fixture(scope="module")
def labels(tiny_run: Trained) -> list[str]:
    return list(load_bundle(tiny_run.bundle).labels)


@pytest.fixture(scope="module")
def film(tiny_cohort: CohortSummary) -> Path:
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    return tiny_cohort.root / str(manifest.record(0)["image"])


@pytest.fixture
def stored(tiny_run: Trained, tmp_path: Path) -> Callable[..., Bundle]:
    """Keep what was chosen in a copy of the run's bundle, and load it."""

    def keep(findings: dict[str, FittedFinding], answer: str = "zero_shot") -> Bundle:
        folder = tmp_path / "bundle"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_run.bundle, folder)
        plain = {name: each.to_dict() for name, each in findings.items()}
        found = Result(name=answer, data="hash", metrics=(), fitted=plain)
        store_fitted(folder, {answer: found}, calibration="temperature")
        return load_bundle(folder)

    return keep


def answer_of(bundle: Bundle, name: str = "zero_shot") -> StoredAnswer:
    return next(each for each in bundle.answers if each.name == name)


def test_a_bundle_gives_back_what_was_kept_of_one_answer_and_the_others_stay(
    stored: Callable[..., Bundle], labels: list[str], tiny_run: Trained
) -> None:
    rule = fitted(20, 40)
    bundle = stored({labels[0]: rule})
    own = answer_of(bundle)
    assert own.operating_points is not None
    assert own.calibration is not None
    assert own.operating_points["data"] == own.calibration["data"] == "hash"
    found = read_decisions(own.operating_points, own.calibration)
    assert found.sets == {labels[0]: rule.sets}
    assert found.calibrators[labels[0]] == rule.calibrators[0]
    assert found.thresholds[labels[0]] == {"youden": rule.points[0].threshold}
    before = load_bundle(tiny_run.bundle)
    assert [each.described() for each in bundle.answers if each.name != "zero_shot"] == [
        each.described() for each in before.answers if each.name != "zero_shot"
    ]
    assert answer_of(bundle).options == answer_of(before).options


def test_limits_are_where_the_category_changes_as_probabilities_where_these_are_given() -> None:
    rule = fitted(20, 40)
    stored = {"findings": {"edema": rule.calibrators[0].to_dict()}}
    conformal = {"edema": rule.sets.to_dict() if rule.sets else {}}
    found = read_decisions({"conformal": conformal}, stored)
    limits = found.limits("edema")
    assert limits is not None
    for score in np.linspace(0.01, 0.99, 197):
        probability = found.probability("edema", float(score))
        said = found.category("edema", float(score))
        assert (said == "absent") == (limits["absent_to"] is not None and probability <= limits["absent_to"])
        assert (said == "present") == (limits["present_from"] is not None and probability >= limits["present_from"])
    assert found.limits("effusion") is None


def test_few_cases_or_patients_of_a_class_are_not_kept_and_the_log_says_so(
    stored: Callable[..., Bundle], labels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="medvlp")
    own = answer_of(stored({labels[0]: fitted(10, 10), labels[1]: fitted(9, 50), labels[2]: fitted(50, 9)}))
    assert stored({labels[0]: fitted(99, 99, patients=4)}).answers == stored({}).answers
    assert own.calibration is not None
    assert own.operating_points is not None
    assert list(own.calibration["findings"]) == [labels[0]]
    assert list(own.operating_points["findings"]) == [labels[0]]
    words = "no threshold or calibration goes into the bundle for"
    assert (
        f"zero_shot: {words} {labels[1]}, {labels[2]}: fewer than 10 validation cases of 5 patients with or"
        in caplog.text
    )
    caplog.clear()
    assert answer_of(stored({labels[0]: fitted(9, 50)})).calibration is None
    assert f"zero_shot: {words} {labels[0]}: " in caplog.text
    caplog.clear()
    stored({labels[0]: fitted(10, 10)})
    assert words not in caplog.text


def test_the_card_says_of_thresholds_what_the_bundle_holds(stored: Callable[..., Bundle], labels: list[str]) -> None:
    says = [stored({labels[0]: fitted(each, 50)}).card.count("## Probabilities and thresholds\n") for each in (10, 9)]
    assert says == [1, 0]


def test_what_is_not_judged_keeps_what_was_chosen_before(
    stored: Callable[..., Bundle], labels: list[str], tmp_path: Path
) -> None:
    one, two, three = labels[:3]
    row = Metric(metric="auroc", label=one, value=0.8, counts=Counts(n=40, positives=20, patients=40))
    first = Result(name="zero_shot", data="first", metrics=(row,))
    before = answer_of(stored(dict.fromkeys((one, two, three), fitted(20, 40))))
    store_fitted(tmp_path / "bundle", {"zero_shot": first}, calibration="temperature")
    plain = {two: fitted(30, 30, 0.05).to_dict(), three: fitted(9, 50).to_dict()}
    row = replace(row, label=two)
    found = Result(name="zero_shot", data="second", metrics=(row,), fitted=plain)
    store_fitted(tmp_path / "bundle", {"zero_shot": found}, calibration="temperature")
    after = answer_of(load_bundle(tmp_path / "bundle"))
    for part in ("operating_points", "calibration"):
        old, new = getattr(before, part)["findings"], getattr(after, part)["findings"]
        assert new[one] == old[one]
        assert new[two] != old[two]
        assert three not in new  # judged, of too few: what was chosen on others says nothing of it any more
    assert list(after.operating_points["conformal"]) == [one, two]
    few = replace(found, fitted=dict.fromkeys((one, two), fitted(9, 50).to_dict()))
    store_fitted(tmp_path / "bundle", {"zero_shot": few}, calibration="temperature")  # so too if none has enough
    gone = answer_of(load_bundle(tmp_path / "bundle"))
    assert (gone.operating_points, gone.calibration) == (None, None)
    assert {name: each["data"]["hash"] for name, each in after.evidence.items()} == {one: "first", two: "second"}


def test_predictive_values_are_evidence_where_the_bundle_calls_and_nowhere_else(
    stored: Callable[..., Bundle], labels: list[str], tmp_path: Path
) -> None:
    one, two = labels[:2]
    row = Metric(metric="auroc", label=one, value=0.8, counts=Counts(n=40, positives=20, patients=40))
    rows = [replace(row, label=name) for name in (one, two)]
    rows += [replace(each, metric="ppv", operating_point="youden", threshold=0.4) for each in rows]
    chosen = {one: fitted(20, 40).to_dict(), two: fitted(9, 50).to_dict()}
    found = Result(name="zero_shot", metrics=tuple(rows), fitted=chosen)
    stored({})
    store_fitted(tmp_path / "bundle", {"zero_shot": found}, calibration="temperature")
    evidence = answer_of(load_bundle(tmp_path / "bundle")).evidence
    values = {name: (each["auroc"], each["ppv"], each["operating_point"]) for name, each in evidence.items()}
    assert values == {one: (0.8, 0.8, "youden"), two: (0.8, None, None)}


def test_a_category_is_what_the_conformal_set_holds() -> None:
    rule = {"level": 0.9, "present_from": 0.3, "absent_to": 0.6, "positives": 50, "negatives": 50}
    overlap = read_decisions({"findings": {}, "conformal": {"edema": rule}}, None)
    assert overlap.limits("edema") == {"absent_to": 0.3, "present_from": 0.6}
    said = [overlap.category("edema", score) for score in (0.2, 0.3, 0.6, 0.7)]
    assert said == ["absent", "indeterminate", "indeterminate", "present"]
    apart = read_decisions({"conformal": {"edema": {**rule, "present_from": 0.8}}}, None)
    # A score that fits neither class is no answer either.
    assert [apart.category("edema", score) for score in (0.6, 0.7, 0.8)] == ["absent", "indeterminate", "present"]
    assert apart.category("effusion", 0.7) is None


def test_scores_of_calibrated_findings_are_probabilities_and_the_others_are_named(
    stored: Callable[..., Bundle], tiny_run: Trained, labels: list[str], film: Path
) -> None:
    plain = predict_files(VisionLanguageModel(load_bundle(tiny_run.bundle)), [film])["results"][0]
    some = predict_files(VisionLanguageModel(stored({labels[0]: fitted(20, 40)})), [film])["results"][0]
    assert some["raw_scores"] == plain["scores"]
    assert some["calibrated"] is False
    assert set(some["uncalibrated"]) == set(labels[1:])
    temperature = fitted(20, 40).calibrators[0]
    expected = float(temperature.probabilities([plain["scores"][labels[0]]])[0])
    assert some["scores"][labels[0]] == pytest.approx(expected, abs=1e-6)
    assert {n: some["scores"][n] for n in labels[1:]} == {n: plain["scores"][n] for n in labels[1:]}
    whole = predict_files(VisionLanguageModel(stored(dict.fromkeys(labels, fitted(20, 40)))), [film])
    assert whole["results"][0]["calibrated"] is True
    assert set(whole["results"][0]["category"]) == set(labels)
    assert "uncalibrated" not in whole["results"][0]


def test_a_probability_is_the_map_of_the_score_itself_however_small(
    stored: Callable[..., Bundle], labels: list[str], film: Path
) -> None:
    """A sigmoid's tails differ by their log-odds: at a scale of 100, or by SigLIP's odds, most scores lie there."""
    rules = dict.fromkeys(labels, fitted(20, 40))
    model: Any = VisionLanguageModel(stored(rules))
    scores = model.ask("zero_shot", film).scores
    name = min(labels, key=lambda each: scores[each][0])
    odds = float(logit(scores[name][0]))
    model.model.logit_scale.log_scale.data += math.log(-18 / odds)  # so that they are 18 to 1, in logarithms
    model = VisionLanguageModel(model.bundle)
    score = model.ask("zero_shot", film).scores[name][0]
    assert logit(score) == pytest.approx(-18, abs=1e-3)
    result = predict_files(model, [film])["results"][0]
    assert result["raw_scores"][name] == score
    assert result["scores"][name] == rules[name].calibrators[0].probabilities([score])[0]


def test_another_recipe_gets_no_calibration_of_this_one(
    stored: Callable[..., Bundle], labels: list[str], film: Path
) -> None:
    model = VisionLanguageModel(stored(dict.fromkeys(labels, fitted(20, 40))))
    other = predict_files(model, [film], recipe="chexzero_v1")["results"][0]
    assert other["calibrated"] is False
    assert "category" not in other


def test_the_command_says_what_probabilities_rest_on(
    stored: Callable[..., Bundle], tiny_run: Trained, labels: list[str], film: Path, tmp_path: Path
) -> None:
    save_bundle(tmp_path / "again", stored({labels[0]: fitted(20, 40)}))
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "again"), str(film)])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    line = next(each for each in lines if each.split()[:1] == [labels[0]])
    said = json.loads(CliRunner().invoke(app, ["predict", str(tmp_path / "again"), str(film), "--json"]).output)
    limits = said["results"][0]["limits"][labels[0]]
    told = f"(absent to {limits['absent_to']:.3f}, present from {limits['present_from']:.3f})"
    assert re.search(rf"  0\.\d{{3}}  (present|absent|indeterminate) {re.escape(told)}$", line)
    assert sum(each.endswith("not calibrated") for each in lines) == len(labels) - 1
    assert "rest on the validation patients" in lines[-1]
    table = ["predict", str(tmp_path / "again"), str(film), "--out", str(tmp_path / "scores.csv")]
    assert CliRunner().invoke(app, table).output.splitlines()[-1] == lines[-1]
    assert lines[-1].endswith(f" Not calibrated: {', '.join(labels[1:])}.")
    both = load_bundle(tmp_path / "again")  # as medvlp adapt writes it: the new answer first, with nothing chosen
    new = replace(answer_of(both), name="new", operating_points=None, calibration=None)
    save_bundle(tmp_path / "both", replace(both, answers=(new, *both.answers)))
    *_, said_last = CliRunner().invoke(app, ["predict", str(tmp_path / "both"), str(film)]).output.splitlines()
    assert "rest on the validation patients" in said_last
    assert said_last.endswith("Scores of an answer without categories are not calibrated.")
    plain = CliRunner().invoke(app, ["predict", str(tiny_run.bundle), str(film), "--json"])
    assert json.loads(plain.output)["results"][0]["calibrated"] is False


def test_a_damaged_entry_is_refused() -> None:
    with pytest.raises(DataError, match="conformal rule cannot be read"):
        read_decisions({"conformal": {"edema": {"level": 0.9}}}, None)
    with pytest.raises(DataError, match=r"thresholds and calibrations cannot be read .*: fit them again"):
        read_decisions({"findings": {"edema": {"youden": {}}}}, None)


def test_of_twelve_patients_nothing_is_chosen(tiny_run: Trained) -> None:
    # They have no ten positives of anything among those of validation.
    assert all(
        (each.operating_points, each.calibration) == (None, None) for each in load_bundle(tiny_run.bundle).answers
    )
