"""A classifier in one file outside the package is trained, chosen, calibrated, evaluated and asked like our own."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from medvlp.answers.applied.decisions import read_decisions
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.cli.main import app
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError
from medvlp.core.registry import available
from medvlp.data.layouts.phantom import index
from medvlp.evaluation.results import load_result
from medvlp.features.embed import embed_parts
from medvlp.models.bundle import load_bundle
from medvlp.runs.train import train
from medvlp.statistics.metrics import auroc
from medvlp.training.journal import read_journal
from tests.messages import messages
from tests.plugins import installed
from tests.tiny import VISION, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

Cli = Callable[..., Any]
LABELS = ["nodule", "central_line", "rib_fracture"]
COMPONENTS = {
    "finding_labels": "objectives finding_classifier:FindingLabels",
    "informedness": "measures finding_classifier:Informedness",
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed("finding_classifier", **COMPONENTS):
        yield


def tree(folder: Path, hospital: Path, *, choose: str) -> dict[str, Any]:
    return {
        "run": str(folder / "run"),
        "seed": 1,
        "data": {
            "root": str(hospital),
            "layout": "phantom",
            "where": {"view_position": ["PA", "AP"]},
            "split": {"name": "patient", "fractions": {"train": 0.3, "validate": 0.5, "test": 0.2}, "seed": 0},
            "prefix": [{"name": "read", "size": 32}],
            "cache": str(folder / "cache"),
        },
        "model": {"name": "vision", "vision": VISION},
        "phases": [{"until": 96, "objectives": [{"name": "finding_labels", "labels": LABELS}]}],
        "optimiser": {"rate": 1.0e-2, "warmup": 16},
        "training": {"batch": 8, "validate_every": 32, "checkpoint_every": 32, "log_every": 8},
        "evaluation": {"resamples": 100, "min_positives": 1, "choose": choose},
    }


@pytest.fixture(scope="module")
def trained(wide_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command line made."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_tree(folder / "c.yaml", tree(folder, wide_cohort.root, choose="findings/auroc/nodule"))
    done = CliRunner().invoke(app, ["train", str(config)])
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_its_names_are_known_beside_our_own_while_it_is_installed() -> None:
    assert "finding_labels" in available("objectives")
    assert {"informedness", "classification"} <= set(available("measures"))


def test_the_best_checkpoint_is_that_of_its_own_metric(trained: Path) -> None:
    rows = [row for row in read_journal(trained / "log.jsonl") if row["kind"] == "validate"]
    values = {int(row["samples_seen"]): row["findings/auroc/nodule"] for row in rows}
    assert len(values) == 3
    best = (trained / "checkpoints" / "best").resolve().name
    seen = max(values, key=lambda seen: values[seen])
    assert int(best.rpartition("-")[2]) * 8 == seen == load_bundle(trained / "bundle").provenance["samples_seen"]


def test_the_bundle_says_what_it_answers_with_the_head_that_it_reads(trained: Path) -> None:
    bundle = load_bundle(trained / "bundle")
    (kept,) = bundle.answers
    assert (kept.name, kept.component, list(kept.labels)) == ("findings", "findings", LABELS)
    assert kept.options == {"labels": LABELS, "part": "findings", "exclusive": False}
    assert "image/findings" in bundle.model.heads
    assert "finding_labels" not in (trained / "bundle" / "bundle.yaml").read_text()


def test_it_is_loaded_where_the_package_is_not(trained: Path) -> None:
    """The answer is a component of medvlp: whoever gets the bundle does not need what trained it."""
    code = "import sys, medvlp; print(list(medvlp.load(sys.argv[1]).answers), 'finding_classifier' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, str(trained / "bundle")], capture_output=True, text=True)
    assert ran.stdout == "['findings'] False\n", ran.stderr


def test_thresholds_and_calibrations_are_chosen_on_validation(trained: Path, wide_cohort: CohortSummary) -> None:
    (kept,) = load_bundle(trained / "bundle").answers
    decisions = read_decisions(kept.operating_points, kept.calibration)
    assert "nodule" in decisions.calibrators
    assert set(decisions.thresholds) == set(decisions.calibrators)
    assert decisions.calibrators["nodule"].name == "platt"
    assert kept.calibration is not None
    assert yaml.safe_load((trained / "data.json").read_text())["manifest"] == kept.calibration["data"]


def films(wide_cohort: CohortSummary, count: int) -> list[Path]:
    manifest = index(wide_cohort.root).where({"view_position": ["PA", "AP"]})
    return [wide_cohort.root / str(manifest.record(i)["image"]) for i in range(count)]


def logits_of(model: VisionLanguageModel, path: Path) -> list[float]:
    """The head's weights on the pooled features of a picture, by hand."""
    pooled = embed_parts(model.model, "image", [model.prepare(path).pixels], ("pooled",))["pooled"][0]
    layer = model.model.heads["image/findings"].output
    assert isinstance(layer, torch.nn.Linear)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return [float(w @ pooled + b) for w, b in zip(weight, bias, strict=True)]


def test_the_command_gives_the_probabilities_of_its_head(trained: Path, wide_cohort: CohortSummary, cli: Cli) -> None:
    paths = films(wide_cohort, 3)
    found = json.loads(cli("predict", trained / "bundle", *paths, "--json").out)
    assert found["recipe"] == "findings"
    model = load(trained / "bundle")
    (kept,) = model.bundle.answers
    decisions = read_decisions(kept.operating_points, kept.calibration)
    for path, result in zip(paths, found["results"], strict=True):
        assert list(result["raw_scores"]) == LABELS
        for label, logit in zip(LABELS, logits_of(model, path), strict=True):
            raw = 1 / (1 + math.exp(-logit))
            assert result["raw_scores"][label] == pytest.approx(raw, abs=2e-6)
            raw = result["raw_scores"][label]
            expected = decisions.probability(label, raw)
            assert result["scores"][label] == pytest.approx(raw if expected is None else expected, abs=1e-6)
        assert set(result.get("uncalibrated", ())) == set(LABELS) - set(decisions.calibrators)
        assert set(result["category"]) == set(decisions.sets)
    plain = cli("predict", trained / "bundle", paths[0])
    assert plain.code == 0
    assert all(any(line.split()[:1] == [label] for line in plain.out.splitlines()) for label in LABELS)
    assert "rest on the validation patients" in plain.out


def test_it_is_evaluated_with_intervals_and_by_its_own_measure(
    trained: Path, wide_cohort: CohortSummary, cli: Cli, tmp_path: Path
) -> None:
    written = yaml.safe_load((trained / "config.yaml").read_text())
    config = {
        "model": str(trained / "bundle"),
        "out": str(tmp_path / "out"),
        "data": written["data"],
        "evaluation": {**written["evaluation"], "choose": None, "split": "test", "gallery": 2},
    }
    told = cli("evaluate", write_tree(tmp_path / "e.yaml", config))
    assert told.code == 0, told.err
    result = load_result(tmp_path / "out" / "results" / "findings.json")
    cases = result.cases
    assert cases is not None
    for label in LABELS:
        row = result.find("auroc", label, split="test")
        truth, scores = cases[f"label:{label}"].to_numpy(), cases[f"score:{label}"].to_numpy()
        inside = cases["split"].to_numpy() == "test"
        assert row.value == pytest.approx(auroc(truth[inside], scores[inside]))
        people = [cases[inside & (truth == side)]["patient_id"].nunique() for side in (0, 1)]
        assert (row.interval.low is None) == (min(people) < 5)
        assert row.interval.low is None or row.interval.low <= row.value <= row.interval.high
    assert "calibration" in result.fitted["nodule"]
    own = load_result(tmp_path / "out" / "results" / "findings_informedness.json")
    for metric in own.metrics:
        rows = cases[cases["split"] == "test"]
        truth, called = rows[f"label:{metric.label}"].to_numpy(), rows[f"score:{metric.label}"].to_numpy() >= 0.5
        assert metric.value == pytest.approx(called[truth == 1].mean() - called[truth == 0].mean())
    assert len(own.metrics) == len(LABELS)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Findings of a classifier" in page


def test_a_measure_from_outside_may_choose_and_a_metric_that_nobody_gives_is_refused(
    wide_cohort: CohortSummary, cli: Cli, tmp_path: Path
) -> None:
    asked = tree(tmp_path, wide_cohort.root, choose="findings/informedness/rib_fracture")
    asked["phases"][0]["until"] = 32
    asked["training"]["validate_every"] = 16
    assert cli("train", write_tree(tmp_path / "a.yaml", asked)).code == 0
    rows = [row for row in read_journal(tmp_path / "run" / "log.jsonl") if row["kind"] == "validate"]
    assert all(-1 <= row["findings/informedness/rib_fracture"] <= 1 for row in rows)
    asked["run"] = str(tmp_path / "other")
    for choice, sentence in (
        ("findings/informednes", r"'findings' is measured by no 'informednes' while training: did you mean 'informed"),
        ("findings/auroc/nodul", r"'findings' names no finding 'nodul': did you mean 'nodule'"),
        ("zero_shot/auroc", r"no objective teaches 'zero_shot': "),
        ("findings/recall@5", r"'findings' is measured by no 'recall@5' while training"),
    ):
        asked["evaluation"]["choose"] = choice
        told = cli("train", write_tree(tmp_path / "b.yaml", asked)).refused()
        assert f"evaluation.choose is {choice!r}" in told
        assert re.search(sentence, told), told
    assert not (tmp_path / "other" / "checkpoints").exists()


def test_an_answer_left_out_is_neither_kept_nor_chosen_by(wide_cohort: CohortSummary, tmp_path: Path) -> None:
    asked = tree(tmp_path, wide_cohort.root, choose="findings/auroc")
    asked["answers"] = {"findings": None}
    with pytest.raises(ConfigError, match=r"no objective teaches 'findings': "):
        train(check_config(asked, source="t"))
    asked["evaluation"]["choose"] = None
    asked["phases"][0]["until"] = 16
    with messages() as told:
        done = train(check_config(asked, source="t"))
    assert load_bundle(done.bundle).answers == ()
    assert done.outcome.best_value is None
    assert "Validation does not measure anything: the last checkpoint is released." in told
