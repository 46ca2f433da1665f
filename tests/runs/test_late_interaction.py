"""FILIP (``score: late_interaction``): what trains is what validates, chooses, fits, predicts and evaluates."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medvlp.answers.applied.decisions import read_decisions
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel, load, prompt_sets
from medvlp.config.recipe import resumed
from medvlp.config.tree import check_config
from medvlp.core.errors import DataError, UserError
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared, prepare
from medvlp.features.embed import embed_parts
from medvlp.models.bundle import load_bundle
from medvlp.runs.data import build_views
from medvlp.runs.embed import embed_manifest
from medvlp.runs.evaluate import evaluate, load_evaluation
from medvlp.runs.train import train
from medvlp.statistics.metrics import auroc
from medvlp.statistics.operating_points import fit_operating_point, parse_rule
from medvlp.statistics.ranks import rank_queries
from medvlp.training.journal import read_journal
from tests.answers.tiny import encoded, late
from tests.models.words import VIT
from tests.tiny import MODEL, tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

pytestmark = pytest.mark.slow
SPLIT = {"name": "patient", "fractions": {"train": 0.3, "validate": 0.5, "test": 0.2}, "seed": 0}


@pytest.fixture(scope="module")
def done(wide_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("filip")
    tree = tiny_tree(folder / "run", wide_cohort.root, folder / "cache")
    tree["model"] = {**MODEL, "vision": {**VIT, "channels": 1}}
    tree["data"]["prefix"][0]["size"] = 64
    tree["data"]["split"] = SPLIT
    tree["phases"][0]["objectives"] = [{"name": "clip", "score": "late_interaction"}]
    tree["training"]["average"] = None
    tree["evaluation"] |= {"choose": "zero_shot/auroc/macro", "points": ["sensitivity_0.75"]}
    return train(check_config(tree, source="t"))


@pytest.fixture(scope="module")
def model(done: Trained) -> VisionLanguageModel:
    return load(done.bundle)


def split_of(done: Trained, name: str) -> Prepared:
    prefix = build_views(resumed(done.run).data.prefix, where="t")
    return prepare(done.manifest.split_of(name), prefix, cache=None, workers=0)


class Loop:
    """Scores of a split, token by token."""

    def __init__(self, model: VisionLanguageModel, prepared: Prepared) -> None:
        self.model, self.manifest = model, prepared.manifest
        samples = [prepared.sample(i) for i in range(len(prepared))]
        parts = embed_parts(model.model, "image", [each.fields["image"] for each in samples], ("local", "mask"))  # type: ignore[misc]
        self.images = [{name: values[i] for name, values in parts.items()} for i in range(len(samples))]
        self.words = [str(each.fields["text"]) for each in samples]

    def against(self, texts: list[str]) -> np.ndarray:
        found = encoded(self.model.model, texts, "local", "mask")
        return np.array([[np.mean(late(image, text)) for text in found] for image in self.images])

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        told = {}
        for each in prompt_sets(self.model.answers):
            yes, no = (self.against(list(texts)).mean(axis=1) for texts in (each.positive, each.negative))
            told[each.label] = 1 / (1 + np.exp(-self.model.scale * (yes - no)))
        return told

    def truth(self, label: str) -> np.ndarray:
        return np.asarray(self.manifest.column(f"label.{label}"), dtype=float)


@pytest.fixture(scope="module")
def validation(done: Trained, model: VisionLanguageModel) -> Loop:
    return Loop(model, split_of(done, "validate"))


@pytest.fixture(scope="module")
def row(done: Trained) -> dict[str, Any]:
    """What the log says of the checkpoint that was released."""
    rows = [each for each in read_journal(done.run / "log.jsonl") if each["kind"] == "validate"]
    best = max(rows, key=lambda each: each["zero_shot/auroc/macro"])
    assert load_bundle(done.bundle).provenance["samples_seen"] == best["samples_seen"]
    assert done.outcome.best_value == best["zero_shot/auroc/macro"]
    return best


def test_validation_measures_late_interaction_and_the_best_by_it_is_released(
    validation: Loop, row: dict[str, Any]
) -> None:
    values = []
    for label, scores in validation.scores.items():
        truth = validation.truth(label)
        if 0 < truth.sum() < len(truth):
            values.append(float(auroc(truth, scores)))
            assert row[f"zero_shot/auroc/{label}"] == pytest.approx(values[-1], abs=1e-6)
    assert row["zero_shot/auroc/macro"] == pytest.approx(np.mean(values), abs=1e-6)
    near = validation.against(validation.words)
    group = np.unique([" ".join(words.lower().split()) for words in validation.words], return_inverse=True)[1]
    for k in (1, 5, 10):
        recall = np.mean([rank_queries(each, group, group).recall(k).mean() for each in (near, near.T)])
        assert row[f"retrieval/recall@{k}"] == pytest.approx(recall, abs=1e-6)


def test_thresholds_are_fitted_to_its_scores(done: Trained, validation: Loop) -> None:
    own = next(each for each in load_bundle(done.bundle).answers if each.name == "zero_shot")
    assert own.score == {"name": "late_interaction"}
    decisions = read_decisions(own.operating_points, own.calibration)
    assert decisions.calibrators
    scores = validation.scores
    for label in decisions.calibrators:
        chosen = fit_operating_point(validation.truth(label), scores[label], parse_rule("youden"))
        assert decisions.thresholds[label]["youden"] == pytest.approx(chosen.threshold, abs=1e-6)
        further = fit_operating_point(validation.truth(label), scores[label], parse_rule("sensitivity_0.75"))
        assert decisions.thresholds[label]["sensitivity_0.75"] == pytest.approx(further.threshold, abs=1e-6)


def test_files_are_scored_by_it(done: Trained, model: VisionLanguageModel, validation: Loop) -> None:
    paths = [path for path in (validation.manifest.path(i) for i in range(3)) if path is not None]
    results = predict_files(model, paths)["results"]
    expected = validation.scores
    for i, result in enumerate(results):
        raw = result.get("raw_scores", result["scores"])
        assert raw == pytest.approx({label: float(values[i]) for label, values in expected.items()}, abs=2e-6)
    texts = ["a nodule", "clear lungs"]
    np.testing.assert_allclose(model.score(paths, texts), validation.against(texts)[:3], atol=1e-5)
    assert not math.isclose(*model.score(paths[0], texts)[0], abs_tol=1e-7)


def test_it_is_evaluated_by_it_with_intervals(done: Trained, wide_cohort: CohortSummary, tmp_path: Path) -> None:
    data = {"root": str(wide_cohort.root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}}
    config = {
        "model": str(done.bundle),
        "out": str(tmp_path / "out"),
        "data": {**data, "split": SPLIT, "cache": str(tmp_path / "cache")},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 2, "fit": None},
    }
    found = evaluate(load_evaluation(write_tree(tmp_path / "e.yaml", config))).found
    loop = Loop(load(done.bundle), split_of(done, "test"))
    scores = loop.scores
    cases = found["zero_shot"].cases
    assert cases is not None
    assert cases["id"].tolist() == loop.manifest.column("id").tolist()
    for label, values in scores.items():
        np.testing.assert_allclose(cases[f"score:{label}"], values, atol=1e-5)
    measured = found["zero_shot"].find("auroc", "nodule")
    assert measured.value == pytest.approx(float(auroc(loop.truth("nodule"), scores["nodule"])), abs=1e-6)
    for label in scores:
        row, truth = found["zero_shot"].find("auroc", label), loop.truth(label)
        people = [cases["patient_id"][truth == side].nunique() for side in (0, 1)]
        assert (row.interval.low is None) == (min(people) < 5)
    assert "retrieval" in found
    assert "linear_probe" in found  # of what the tower pools: nobody trained its projection


def test_more_records_than_can_be_compared_are_refused_before_a_picture_is_read(done: Trained, tmp_path: Path) -> None:
    names = [str(i) for i in range(30_001)]
    columns = {"id": names, "image": ["none.png"] * len(names), "text": names, "id.patient": names}
    Manifest.of({**columns, "split": ["test"] * len(names)}, root=tmp_path).save(tmp_path / "m.parquet")
    data = {"root": str(tmp_path), "manifest": str(tmp_path / "m.parquet"), "near_images": False}
    config = {"model": str(done.bundle), "out": str(tmp_path / "out"), "data": {**data, "cache": str(tmp_path / "c")}}
    with pytest.raises(
        DataError, match=r"'retrieval' compares 30001 .* or set evaluation\.measures\.retrieval=null\.$"
    ):
        evaluate(load_evaluation(write_tree(tmp_path / "e.yaml", config)))
    assert not (tmp_path / "c").exists()
    left_out = load_evaluation(tmp_path / "e.yaml", ["evaluation.measures.retrieval=null"])
    with pytest.raises(DataError, match=r"of 30001 records below .* cannot be read"):
        evaluate(left_out)
    pictures = left_out.data.model_copy(update={"manifest": str(tmp_path / "pictures.parquet")})
    del columns["text"]  # nothing is compared
    Manifest.of({**columns, "split": ["test"] * len(names)}, root=tmp_path).save(tmp_path / "pictures.parquet")
    with pytest.raises(DataError, match=r"of 30001 records below .* cannot be read"):
        evaluate(load_evaluation(tmp_path / "e.yaml").model_copy(update={"data": pictures}))


def test_embeddings_that_nobody_trained_are_refused(done: Trained, model: VisionLanguageModel, tmp_path: Path) -> None:
    path = done.manifest.path(0)
    assert path is not None
    for asked in (lambda: model.embed_image(path), lambda: model.embed_text("a"), lambda: model.explain(path, "a")):
        with pytest.raises(
            UserError, match=r"trained by a score that reads no embedding, .*: compare with \.score\(imag"
        ):
            asked()
    with pytest.raises(UserError, match="trained by a score that reads no embedding"):
        predict_files(model, [path], recipe="chexzero_v1")
    table = embed_manifest(done.bundle, done.run / "manifest.parquet", root=None, workers=0)
    assert list(table.columns) == ["image/pooled"]
