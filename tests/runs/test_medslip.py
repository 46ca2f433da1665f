"""The path of a dual-stream model from a configuration to scores, results and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import medvlp
from medvlp.config.tree import load_config
from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError
from medvlp.runs.build import build_banks
from medvlp.runs.embed import embed_manifest
from medvlp.runs.evaluate import evaluate, load_evaluation
from medvlp.runs.train import train
from medvlp.text.medslip_findings import finding_columns, score_names
from tests.tiny import VISION, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

STREAMS = {"name": "dual_stream", "width": 16, "layers": 1, "heads": 2, "feedforward": 16}


def tree(name: str, folder: Path, hospital: Path) -> dict[str, Any]:
    found = load_tree(f"pretrain/{name}.yaml")
    found["run"] = str(folder / "run")
    found["data"] |= {"root": str(hospital), "cache": str(folder / "cache")}
    # Twelve patients: validation needs both classes of a finding.
    found["data"]["split"] = {"name": "patient", "fractions": {"train": 0.4, "validate": 0.4, "test": 0.2}, "seed": 1}
    found["data"]["prefix"][0]["size"] = 32
    found["model"]["vision"] |= VISION
    found["model"]["heads"] = {"image/medslip": STREAMS}
    found["phases"][-1]["until"] = 64
    found["optimiser"] = {"rate": 3.0e-3, "warmup": 16}
    found["training"] = {"batch": 8, "log_every": 8, "validate_every": 32, "checkpoint_every": 32}
    return found


@pytest.fixture(scope="module")
def done(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("medslip")
    return train(load_config(write_tree(folder / "c.yaml", tree("phantom_medslip", folder, tiny_cohort.root))))


def test_it_learns_from_reports_and_is_chosen_by_the_existence_of_findings(done: Trained) -> None:
    rows = [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "train"]
    names = {f"medslip/{n}" for n in ("exist_pathology", "exist_anatomy", "prototypes_pathology", "prototypes_anatomy")}
    told = json.dumps(steps)
    assert all(name in told for name in (*names, "medslip/pairs"))
    assert all(np.isfinite(step["loss"]) for step in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    checks = [row for row in rows if row["kind"] == "validate"]
    assert checks
    assert all(0 <= check["existence/auroc/macro"] <= 1 for check in checks)
    assert not any("zero_shot" in key or "retrieval" in key for check in checks for key in check)
    assert done.outcome.best_value is not None


def test_the_bundle_has_no_words_of_its_own_and_brings_its_books(done: Trained) -> None:
    model = medvlp.load(done.bundle)
    assert model.bundle.tokenizer is None or not model.model.reads_text
    assert list(model.answers) == ["existence", "pairs"]
    assert not any(answer.prompts for answer in model.answers.values())
    assert {"effusion", "nodule"} <= set(model.bundle.labels)
    assert model.model.banks["pathology"].encoder == "hashed_words width=128 seed=0"
    assert model.model.banks["anatomy"].names[0] == "trachea"


def test_it_answers_only_what_the_reports_of_its_training_stated_both_ways(done: Trained) -> None:
    model = medvlp.load(done.bundle)
    head = model.model.heads["image/medslip"]
    words = model.model.banks["pathology"].names
    seen = head.said_pathology.sum(dim=0)
    assert 0 < int(seen.max()) <= 64  # of 64 samples
    assert int(seen[words.index("tortuous")]) == 0  # the phantom never speaks of it
    image = next(str(path) for row in range(len(done.manifest)) for path in done.manifest.paths(row, "image"))
    scores = model.ask("existence", image).scores
    assert scores is not None
    assert "pneumothorax" in scores
    assert "tortuous" not in scores
    # A word is asked by its own name or by that of each finding that it means.
    columns = {**dict(zip(score_names(words), range(len(words)), strict=True)), **finding_columns(words)}
    assert scores.keys() == {name for name, word in columns.items() if head.known.pathology[word]}


@pytest.mark.slow
def test_it_is_evaluated_by_its_own_findings(done: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    data = {"root": str(tiny_cohort.root), "layout": "phantom", "cache": str(tmp_path / "cache")}
    data["allow_leaks"] = True  # the toy was trained on everybody
    options = {"resamples": 100, "min_positives": 1, "gallery": 2}
    config = {"model": str(done.bundle), "out": str(tmp_path / "out"), "data": data, "evaluation": options}
    found = evaluate(load_evaluation(write_tree(tmp_path / "e.yaml", config))).found
    assert {"existence", "linear_probe", "thumbnail"} <= set(found)
    assert "zero_shot" not in found
    labels = {row.label for row in found["existence"].metrics if row.metric == "auroc"}
    assert "effusion" in labels
    assert (tmp_path / "out" / "results" / "predictions.parquet").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Existence" in page


def test_its_pictures_are_embedded_without_words(done: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    table = embed_manifest(done.bundle, done.run / "manifest.parquet", root=tiny_cohort.root, workers=1)
    assert list(table.columns) == ["image/embedding"]
    np.testing.assert_allclose(np.linalg.norm(table["image/embedding"], axis=1), 1, rtol=1e-5)


def test_a_recipe_that_cannot_be_computed_is_refused_before_any_batch(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    without = tree("phantom_medslip", tmp_path, tiny_cohort.root)
    without["data"]["suffix"] = []
    with pytest.raises(
        ConfigError, match=r"objective 'medslip' needs the field 'vector\.triplets', which the data lacks"
    ):
        train(load_config(write_tree(tmp_path / "a.yaml", without)))
    headless = tree("phantom_medslip", tmp_path, tiny_cohort.root)
    headless["model"]["heads"] = {}
    with pytest.raises(ConfigError, match=r"Need 'image/medslip' cannot be computed"):
        train(load_config(write_tree(tmp_path / "b.yaml", headless)))
    wordless = tree("phantom_medslip", tmp_path, tiny_cohort.root)
    wordless["phases"][0]["objectives"].append({"name": "clip"})
    with pytest.raises(ConfigError, match=r"asks for a tower of kind 'text'"):
        train(load_config(write_tree(tmp_path / "c.yaml", wordless)))


def test_banks_are_encoded_by_name_or_with_options(tmp_path: Path) -> None:
    book = "banks/medslip_anatomy_v1.yaml"
    config = load_config("pretrain/phantom_medslip.yaml", [f"banks={{a: {{file: {book}, encoder: hashed_words}}}}"])
    bank = build_banks(config)["a"]
    assert bank.vectors is not None
    assert bank.vectors.shape == (51, 256)
    assert build_banks(config, encode=False)["a"].vectors is None
    wrong = load_config("pretrain/phantom_medslip.yaml", ["banks.anatomy.encoder.name=hashed_word"])
    with pytest.raises(
        ConfigError, match="no models/text_vectors component named 'hashed_word': did you mean 'hashed_w"
    ):
        build_banks(wrong)
    with pytest.raises(ConfigError, match=r"banks\.anatomy\.encoder\.widht is not a known key: did you mean 'width'"):
        build_banks(load_config("pretrain/phantom_medslip.yaml", ["banks.anatomy.encoder.widht=3"]))


@pytest.mark.parametrize("choice", ["existence/auroc/macro", "existence/auroc/effusion"])
def test_the_metric_that_chooses_may_be_existence(choice: str) -> None:
    assert load_config("pretrain/phantom_medslip.yaml", [f"evaluation.choose={choice}"]).evaluation.choose == choice
