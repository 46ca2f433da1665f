"""What a bundle says of scores: probabilities and categories, of the recipe that they were chosen for and no other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medvlp.answers.applied.decisions import read_decisions
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.cli.main import app
from medvlp.config.fitting import kept
from medvlp.core.errors import DataError
from medvlp.data.layouts.phantom import index
from medvlp.evaluation.calibration.fit import fit_calibrator
from medvlp.evaluation.conformal import fit_sets
from medvlp.evaluation.operating_points import fit_operating_point, parse_rule
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.models.bundle import load_bundle, save_bundle

if TYPE_CHECKING:
    from medvlp.config.train import Trained
    from medvlp.phantom.cohort import CohortSummary


def fitted(positives: int, negatives: int, shift: float = 0.0) -> FittedFinding:
    truth = np.repeat([1, 0], [positives, negatives])
    scores = np.clip(np.linspace(0.9, 0.1, len(truth)) - shift, 0.01, 0.99)
    return FittedFinding(
        points=(fit_operating_point(truth, scores, parse_rule("youden")),),
        calibrators=tuple(fit_calibrator(n, truth, scores, scale="probability") for n in ("temperature", "platt")),
        sets=fit_sets(truth, scores, level=0.9),
    )


@pytest.fixture(scope="module")
def labels(tiny_run: Trained) -> list[str]:
    return list(load_bundle(tiny_run.bundle).labels)


@pytest.fixture(scope="module")
def film(tiny_cohort: CohortSummary) -> Path:
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    return tiny_cohort.root / str(manifest.record(0)["image"])


def stored(run: Trained, findings: dict[str, FittedFinding], recipe: str = "zero_shot") -> Any:
    plain = {name: each.to_dict() for name, each in findings.items()}
    return kept(load_bundle(run.bundle), plain, recipe, "data", "temperature")


def test_a_bundle_gives_back_what_was_kept(tiny_run: Trained, labels: list[str], tmp_path: Path) -> None:
    bundle = stored(tiny_run, {labels[0]: fitted(20, 40)})
    save_bundle(tmp_path / "bundle", bundle)
    again = load_bundle(tmp_path / "bundle")
    assert (again.operating_points, again.calibration) == (bundle.operating_points, bundle.calibration)
    found = read_decisions(again.operating_points, again.calibration)
    rule = fitted(20, 40)
    assert found.recipe == "zero_shot"
    assert found.sets == {labels[0]: rule.sets}
    assert found.calibrators[labels[0]] == rule.calibrators[0]
    assert found.thresholds[labels[0]] == {"youden": rule.points[0].threshold}


def test_few_cases_of_a_class_are_not_kept(tiny_run: Trained, labels: list[str]) -> None:
    bundle = stored(tiny_run, {labels[0]: fitted(10, 10), labels[1]: fitted(9, 50), labels[2]: fitted(50, 9)})
    assert list(bundle.calibration["findings"]) == [labels[0]]
    assert list(bundle.operating_points["findings"]) == [labels[0]]
    assert stored(tiny_run, {labels[0]: fitted(9, 50)}).calibration is None


def test_a_category_is_what_the_conformal_set_holds() -> None:
    rule = {"level": 0.9, "present_from": 0.3, "absent_to": 0.6, "positives": 50, "negatives": 50}
    overlap = read_decisions({"recipe": "r", "findings": {}, "conformal": {"edema": rule}}, None)
    said = [overlap.category("edema", score) for score in (0.2, 0.3, 0.6, 0.7)]
    assert said == ["absent", "indeterminate", "indeterminate", "present"]
    apart = read_decisions({"recipe": "r", "conformal": {"edema": {**rule, "present_from": 0.8}}}, None)
    # A score that fits neither class is no answer either.
    assert [apart.category("edema", score) for score in (0.6, 0.7, 0.8)] == ["absent", "indeterminate", "present"]
    assert apart.category("effusion", 0.7) is None


def test_scores_of_calibrated_findings_are_probabilities_and_the_others_are_named(
    tiny_run: Trained, labels: list[str], film: Path
) -> None:
    plain = predict_files(VisionLanguageModel(load_bundle(tiny_run.bundle)), [film])["results"][0]
    some = predict_files(VisionLanguageModel(stored(tiny_run, {labels[0]: fitted(20, 40)})), [film])["results"][0]
    assert some["raw_scores"] == plain["scores"]
    assert some["calibrated"] is False
    assert set(some["uncalibrated"]) == set(labels[1:])
    temperature = fitted(20, 40).calibrators[0]
    expected = float(temperature.probabilities([plain["scores"][labels[0]]])[0])
    assert some["scores"][labels[0]] == pytest.approx(expected, abs=1e-6)
    assert {n: some["scores"][n] for n in labels[1:]} == {n: plain["scores"][n] for n in labels[1:]}
    whole = predict_files(VisionLanguageModel(stored(tiny_run, dict.fromkeys(labels, fitted(20, 40)))), [film])
    assert whole["results"][0]["calibrated"] is True
    assert set(whole["results"][0]["category"]) == set(labels)
    assert "uncalibrated" not in whole["results"][0]


def test_another_recipe_gets_no_calibration_of_this_one(tiny_run: Trained, labels: list[str], film: Path) -> None:
    model = VisionLanguageModel(stored(tiny_run, dict.fromkeys(labels, fitted(20, 40))))
    other = predict_files(model, [film], recipe="chexzero_v1")["results"][0]
    assert other["calibrated"] is False
    assert "category" not in other


def test_the_command_says_what_probabilities_rest_on(
    tiny_run: Trained, labels: list[str], film: Path, tmp_path: Path
) -> None:
    save_bundle(tmp_path / "bundle", stored(tiny_run, {labels[0]: fitted(20, 40)}))
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "bundle"), str(film)])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    line = next(each for each in lines if each.split()[:1] == [labels[0]])
    assert line.split()[-1] in ("present", "absent", "indeterminate")
    assert sum(each.endswith("not calibrated") for each in lines) == len(labels) - 1
    assert "rest on the validation patients" in lines[-1]
    plain = CliRunner().invoke(app, ["predict", str(tiny_run.bundle), str(film), "--json"])
    assert json.loads(plain.output)["results"][0]["calibrated"] is False


def test_a_damaged_entry_is_refused() -> None:
    with pytest.raises(DataError, match="conformal rule cannot be read"):
        read_decisions({"recipe": "r", "conformal": {"edema": {"level": 0.9}}}, None)
    with pytest.raises(DataError, match="of different recipes, a and b"):
        read_decisions({"recipe": "a"}, {"recipe": "b"})
    with pytest.raises(DataError, match="cannot be read"):
        read_decisions({"recipe": "a", "findings": {"edema": {"youden": {}}}}, None)


def test_the_bundle_of_a_run_keeps_what_its_dataclass_says(tiny_run: Trained) -> None:
    # Twelve patients have no ten positives of anything among those of validation.
    bundle = load_bundle(tiny_run.bundle)
    assert (bundle.operating_points, bundle.calibration) == (None, None)
    assert {"operating_points", "calibration"} <= {each.name for each in dataclasses.fields(bundle)}
