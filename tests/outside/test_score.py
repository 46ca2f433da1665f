"""A score that learns is part of what a bundle answers: trained, kept, loaded; without its weights it is refused."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel, load, prompt_sets
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError, UserError
from medvlp.data.layouts.phantom import index
from medvlp.models.bundle import load_bundle
from medvlp.runs.train import train
from medvlp.training.checkpoints import latest
from medvlp.training.journal import read_journal
from tests.models.test_bundle import sign
from tests.plugins import installed
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

pytestmark = pytest.mark.slow
TEXTS = ["a nodule", "no pneumothorax", "clear lungs"]


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed("weighed_score", weighed="models/scores weighed_score:Weighed"):
        yield


def weighed(folder: Path, hospital: Path) -> dict[str, Any]:
    """A recipe that is soon worse than at its start: its best checkpoint is not the last."""
    tree = tiny_tree(folder / "run", hospital, folder / "cache")
    tree["data"]["split"] = {"name": "patient", "fractions": {"train": 0.4, "validate": 0.4, "test": 0.2}, "seed": 1}
    tree["phases"][0]["objectives"] = [{"name": "clip", "score": {"name": "weighed", "width": 8}}]
    tree["training"] |= {"average": None, "validate_every": 16}
    tree["optimiser"]["rate"] = 0.1
    tree["evaluation"]["choose"] = "retrieval/recall@5"
    return tree


@pytest.fixture(scope="module")
def run(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weighed")
    return train(check_config(weighed(folder, tiny_cohort.root), source="t")).run


@pytest.fixture(scope="module")
def model(run: Path) -> VisionLanguageModel:
    return load(run / "bundle")


@pytest.fixture(scope="module")
def films(tiny_cohort: CohortSummary) -> list[Path]:
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    return [tiny_cohort.root / str(manifest.record(i)["image"]) for i in range(3)]


def weight_of(run: Path) -> np.ndarray:
    (tensor,) = (t for n, t in load_file(run / "bundle" / "scores.safetensors").items() if n == "zero_shot.weight")
    return tensor.numpy()


def test_what_it_learnt_is_kept_with_each_answer(run: Path) -> None:
    held = load_file(run / "bundle" / "scores.safetensors")
    assert sorted(held) == ["retrieval.weight", "zero_shot.weight"]
    assert not torch.equal(held["zero_shot.weight"], torch.ones(8))
    chosen = (run / "checkpoints" / "best").resolve()
    assert chosen != latest(run)
    best = load_file(chosen / "weights.safetensors")
    (trained,) = (t for n, t in best.items() if n.startswith("objectives.") and n.endswith("score.weight"))
    assert torch.equal(held["zero_shot.weight"], trained)
    assert torch.equal(held["retrieval.weight"], trained)
    for kept in load_bundle(run / "bundle").answers:
        assert kept.score == {"name": "weighed", "width": 8}


def test_it_is_what_files_are_scored_by(run: Path, model: VisionLanguageModel, films: list[Path]) -> None:
    images, weight = model.embed_image(films), weight_of(run)
    expected = (images * weight) @ model.embed_text(TEXTS).T
    np.testing.assert_allclose(model.score(films, TEXTS), expected, atol=1e-6)
    assert not np.allclose(images @ model.embed_text(TEXTS).T, expected, atol=1e-4)
    results = predict_files(model, films)["results"]
    for each in prompt_sets(model.answers):
        sides = [((images * weight) @ model.embed_text(t).T).mean(axis=1) for t in (each.positive, each.negative)]
        for row, (yes, no) in enumerate(zip(*sides, strict=True)):
            probability = 1 / (1 + math.exp(-model.scale * float(yes - no)))
            assert results[row]["scores"][each.label] == pytest.approx(probability, abs=2e-6)


def test_it_is_what_validation_measures_by(run: Path, model: VisionLanguageModel, tiny_cohort: CohortSummary) -> None:
    """The released checkpoint measured again, by the formula, gives the number of the log."""
    from medvlp.config.recipe import resumed
    from medvlp.data.manifest import Manifest
    from medvlp.data.prepare import prepare
    from medvlp.runs.data import build_views
    from medvlp.statistics.ranks import rank_queries

    manifest = Manifest.load(run / "manifest.parquet", root=tiny_cohort.root)
    prefix = build_views(resumed(run).data.prefix, where="t")
    held = prepare(manifest.split_of("validate"), prefix, cache=None, workers=0)
    samples = [held.sample(i) for i in range(len(held))]
    words = [str(sample.fields["text"]) for sample in samples]
    images = model.embed_prepared([sample.fields["image"] for sample in samples])  # type: ignore[misc]
    near = (images * weight_of(run)) @ model.embed_text(words).T
    group = np.unique([" ".join(text.lower().split()) for text in words], return_inverse=True)[1]
    expected = np.mean([rank_queries(each, group, group).recall(1).mean() for each in (near, near.T)])
    seen = load_bundle(run / "bundle").provenance["samples_seen"]
    rows = [row for row in read_journal(run / "log.jsonl") if row["kind"] == "validate"]
    (row,) = (row for row in rows if row["samples_seen"] == seen)
    assert row["retrieval/recall@1"] == pytest.approx(expected)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    held = load_file(folder / "scores.safetensors")
    change(held)
    save_file(held, folder / "scores.safetensors")
    return folder


def test_weights_that_are_damaged_missing_or_of_another_shape_are_refused(copy: Path) -> None:
    sentence = (
        "The weights of the score of the answer 'zero_shot' are missing or of another shape: get the bundle again"
    )
    changed(copy, lambda held: held["zero_shot.weight"].add_(1))
    with pytest.raises(UserError, match=r"scores\.safetensors is damaged or was changed since it was released"):
        load(copy)
    changed(copy, lambda held: held.pop("zero_shot.weight"))
    sign(copy)
    with pytest.raises(UserError, match=sentence):
        load(copy)
    changed(copy, lambda held: held.update({"zero_shot.weight": torch.ones(3)}))
    sign(copy)
    with pytest.raises(UserError, match=sentence):
        load(copy)
    (copy / "scores.safetensors").unlink()
    with pytest.raises(UserError, match=r"scores\.safetensors is listed in MANIFEST\.sha256 and is not there"):
        load(copy)
    sign(copy)
    with pytest.raises(UserError, match=sentence):
        load(copy)


def test_where_the_package_is_not_installed_the_bundle_is_refused_by_name(run: Path) -> None:
    import subprocess
    import sys

    code = "import sys, medvlp\ntry: medvlp.load(sys.argv[1])\nexcept medvlp.core.ConfigError as error: print(error)"
    ran = subprocess.run([sys.executable, "-c", code, str(run / "bundle")], capture_output=True, text=True)
    assert "There is no models/scores component named 'weighed': " in ran.stdout, ran.stderr


def test_a_run_goes_on_with_what_its_score_has_learnt(run: Path, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = weighed(tmp_path, tiny_cohort.root)
    with pytest.raises(UserError, match="Training was interrupted"):
        train(check_config(tree, source="t"), stop_at=24)
    train(check_config(tree, source="t"))
    own, expected = (load_file(latest(each) / "weights.safetensors") for each in (tmp_path / "run", run))
    assert all(torch.equal(own[name], expected[name]) for name in expected)
    assert np.array_equal(weight_of(tmp_path / "run"), weight_of(run))


def test_a_faulty_option_of_a_score_is_one_sentence(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["phases"][0]["objectives"] = [{"name": "clip", "score": {"name": "weighed"}}]
    with pytest.raises(ConfigError, match=r"objectives\[0\]\.score\.width is missing: give it a value"):
        train(check_config(tree, source="t"))
