"""From volumes to a judged model, and from cached slice features to one that reads volumes again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import load
from medvlp.config.tree import load_config
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.data.manifest import Manifest
from medvlp.features.slice_features import pixel_scale, slice_tower, tower_hash
from medvlp.models.build import build_model
from medvlp.models.bundle import load_bundle
from medvlp.phantom.cohort import make_cohort
from medvlp.runs.embed import embed_manifest
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.slices import embed_slices, reading_of, released_preprocessing
from medvlp.runs.start import start_from
from medvlp.runs.train import train
from medvlp.text.wordpiece import train_wordpiece
from tests.tiny import MODEL, VISION, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

STACKS: dict[str, Any] = {
    **MODEL,
    "vision": {"name": "slices", "slice": VISION},
    "heads": {
        "stack/volume": {"name": "slice_pooler", "heads": 2},
        "stack/raw": {"name": "projection", "reads": "volume"},
    },
}
DRAW = {"name": "sample_slices", "count": 4, "how": "jittered"}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ct") / "hospital"
    return make_cohort(root, patients=6, modality="ct", image_size=32, workers=1).root


def tree(folder: Path, name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": str(folder / name),
        "seed": 1,
        "data": {"cache": str(folder / "cache"), **data},
        "tokenizer": {"vocab_size": 512, "max_length": 48},
        "model": STACKS,
        "phases": [{"until": 16, "objectives": [{"name": "clip", "image": "stack"}]}],
        "training": {"batch": 8, "validate_every": 16, "checkpoint_every": 16, "log_every": 8},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 2, "choose": "retrieval/recall@1"},
    }


def scores_of(bundle: Path, data: Any, options: Any, out: Path) -> dict[str, float]:
    """The scores of each finding and record."""
    evaluate(EvaluationRun(model=str(bundle), out=str(out), data=data, evaluation=options), page=False)
    rows = pd.read_parquet(out / "results" / "predictions.parquet").set_index("id")
    return {f"{i} {name}": rows[name][i] for name in rows if name.startswith("score:") for i in rows.index}


@pytest.mark.slow
def test_volumes_train_and_are_judged_and_so_are_their_slice_features(tmp_path: Path) -> None:
    """Stage one on slices; its frozen tower's features; stage two on them; a bundle that reads volumes again."""
    hospital = make_cohort(tmp_path / "hospital", patients=10, modality="ct", image_size=32, workers=1).root
    prefix = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}, {"name": "sections"}]
    data = {"root": str(hospital), "layout": "phantom", "group": {"keep": "one"}, "prefix": prefix}
    first = tree(tmp_path, "one", {**data, "suffix": [DRAW, {"name": "augment3d"}]})
    config = load_config(write_tree(tmp_path / "one.yaml", first))
    one = train(config)
    assert one.outcome.best_value is not None
    asked = EvaluationRun(
        model=str(one.bundle), out=str(tmp_path / "judged"), data=config.data, evaluation=config.evaluation
    )
    assert {"zero_shot", "retrieval", "linear_probe", "thumbnail"} <= set(evaluate(asked).found)
    manifest = one.run / "manifest.parquet"
    table = embed_manifest(one.bundle, manifest, root=None, workers=0)
    assert set(table.columns) == {"stack/embedding", "text/embedding"}
    done = embed_slices(one.bundle, manifest, root=None, folder=tmp_path / "features", windows=[], workers=0)
    made = done.manifest.meta["slices"]
    assert isinstance(made, dict)
    assert [spec["name"] for spec in made["preprocessing"]] == ["read_volume"]
    features = {"root": str(tmp_path / "features"), "manifest": str(tmp_path / "features/manifest.parquet")}
    features |= {"prefix": [{"name": "read_stack_file"}, {"name": "sections"}], "suffix": [DRAW]}
    second = {**tree(tmp_path, "two", features), "init_from": str(one.bundle)}
    second["phases"][0]["trainable"] = ["*", "!model.towers.stack.*"]
    two = train(load_config(write_tree(tmp_path / "two.yaml", second)))
    released = load_bundle(two.bundle)
    assert [spec["name"] for spec in released.preprocessing] == ["read_volume", "sections"]
    assert tower_hash(slice_tower(released.model)) == made["tower"]
    model = load(two.bundle)
    paths = [one.manifest.root / str(one.manifest.record(row)["volume"]) for row in (0, 1)]
    scored = predict_files(model, paths)["results"]
    assert [result["path"] for result in scored] == list(map(str, paths))
    # Judged on the features of its own tower it is the same model: they are what it would make of the volumes.
    data = load_config(tmp_path / "two.yaml").data
    told = [
        scores_of(two.bundle, each, config.evaluation, tmp_path / f"told{n}")
        for n, each in enumerate((data, config.data))
    ]
    assert told[0].keys() == told[1].keys() != set()
    assert told[0] == pytest.approx(told[1], abs=1e-6)
    weights = model.slice_weights(paths[0])
    assert weights.weights is not None
    assert weights.weights.sum() == pytest.approx(1, abs=1e-5)
    told = scored[0]["slices"]
    assert (told["count"], told["heaviest"]) == (len(weights.weights), weights.shown + 1)
    assert told["weight"] == pytest.approx(float(weights.weights.max()), abs=1e-5)
    assert told["place_mm"] == pytest.approx(weights.position[weights.shown].tolist(), abs=1e-3)


def test_the_pictures_of_a_study_train_as_one_stack(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    prefix = [{"name": "read_stack", "size": 32}, {"name": "sections"}]
    data = {"root": str(tiny_cohort.root), "layout": "phantom", "group": {"keep": "stack"}, "prefix": prefix}
    done = train(load_config(write_tree(tmp_path / "views.yaml", tree(tmp_path, "views", data))))
    assert len(done.manifest) == tiny_cohort.studies
    files = [len(done.manifest.paths(row, "stack")) for row in range(len(done.manifest))]
    assert sum(files) == tiny_cohort.images
    assert max(files) > 1
    study = done.manifest.paths(files.index(max(files)), "stack")[0].parent
    weights = load(done.bundle).slice_weights(study)
    assert len(weights.position) == max(files), "a study is scored by its folder"


def test_a_model_with_another_slice_tower_is_released_for_features_alone() -> None:
    words = train_wordpiece(["clear lungs"] * 3, vocab_size=64, max_length=16)
    model = build_model(STACKS, tokenizer=words)
    prefix = [{"name": "read_stack_file", "bits": 32}, {"name": "sections"}]
    opened = [{"name": "read_volume", "size": 32}, {"name": "sample_slices", "count": 8}]
    same = {"slices": {"tower": tower_hash(slice_tower(model)), "preprocessing": opened}}
    assert released_preprocessing(prefix, same, model) == ([*opened, prefix[1]], "")
    kept, told = released_preprocessing(prefix, {"slices": {"tower": "another", "preprocessing": opened}}, model)
    assert kept == prefix
    assert told == (
        "The model holds another slice tower than the one that made its training features: its bundle reads stack "
        "files of those features, and no volumes."
    )
    assert released_preprocessing(opened, same, model) == (opened, "")
    stacks = {"id": ["a"], "stack": ["a.safetensors"]}
    own = Manifest.of(stacks, root=Path(), meta=same)
    assert reading_of(own, [*opened, prefix[1]], model) == [{"name": "read_stack_file"}, prefix[1]]
    assert reading_of(own, prefix, model) == prefix
    assert reading_of(Manifest.of(stacks, root=Path()), opened, model) == opened
    made = {**same["slices"], "pixel_scale": pixel_scale(slice_tower(model))}
    assert reading_of(Manifest.of(stacks, root=Path(), meta={"slices": made}), opened, model) != opened
    brighter = build_model(
        {**STACKS, "vision": {"name": "slices", "slice": {**VISION, "mean": [0.1]}}}, tokenizer=words
    )
    brighter.load_state_dict(model.state_dict())  # which has no pixel statistics
    assert released_preprocessing(prefix, {"slices": made}, brighter)[0] == prefix
    shown = {**made, "pixel_scale": pixel_scale(slice_tower(brighter))}
    several = ({**same["slices"], "tower": "another"}, opened), (same["slices"], opened[1:]), (shown, opened)
    for meta, views in several:
        with pytest.raises(
            UserError, match="that another tower than this model's made, or in another way: use the man"
        ):
            reading_of(Manifest.of(stacks, root=Path(), meta={"slices": meta}), views, model)


def test_a_scale_without_the_bundles_bias_starts_afresh(tiny_run: Any) -> None:
    """SigLIP after CLIP begins with its own scale and bias; all else is the bundle's."""
    start = load_bundle(tiny_run.bundle)
    model = build_model({**MODEL, "scale": {"init": 10.0, "bias": -10.0}}, tokenizer=start.tokenizer, seed=5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith("logit_scale.")}
    start_from(model, tiny_run.bundle)
    assert len(before) == 2
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in before else start.model.state_dict()[name]), name


def test_a_group_column_that_is_not_there_is_one_sentence(hospital: Path, tmp_path: Path) -> None:
    data = {"root": str(hospital), "layout": "phantom", "group": {"keep": "one", "prefer": ["B30f"]}, "prefix": []}
    with pytest.raises(DataError, match="no column 'kernel'"):
        train(load_config(write_tree(tmp_path / "one.yaml", tree(tmp_path, "one", data))))


def test_a_tower_of_a_kind_that_the_views_make_into_another_is_refused(hospital: Path, tmp_path: Path) -> None:
    prefix = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}]
    made = tree(tmp_path, "grid", {"root": str(hospital), "layout": "phantom", "prefix": prefix})
    made["model"] = {**STACKS, "vision": {"name": "monai", "kind": "volume"}, "heads": {}}
    made["phases"][0]["objectives"] = [{"name": "clip", "image": "volume"}]
    lacks = r"objective 'clip' needs the field 'volume', which the data lacks: allowed are stack, text"
    with pytest.raises(ConfigError, match=lacks):
        train(load_config(write_tree(tmp_path / "grid.yaml", made)))


def test_the_second_stage_starts_from_a_model_of_images(hospital: Path, tiny_run: Any, tmp_path: Path) -> None:
    """RadCLIP's stages: a 2D model's tower looks at slices, its projection stands behind the pooler."""
    prefix = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}, {"name": "sections"}]
    data = {"root": str(hospital), "layout": "phantom", "prefix": prefix, "suffix": [DRAW]}
    second = {**tree(tmp_path, "two", data), "init_from": str(tiny_run.bundle)}
    second["phases"][0]["trainable"] = ["model.heads.stack/volume*"]
    done = load_bundle(train(load_config(write_tree(tmp_path / "two.yaml", second))).bundle).model.state_dict()
    first = load_bundle(tiny_run.bundle).model.state_dict()
    for name, tensor in first.items():
        other = name.replace("towers.image.", "towers.stack.slice.").replace("heads.image/", "heads.stack/")
        assert torch.equal(done[other], tensor), name
    assert {name.split(".")[1] for name in done.keys() - {
        n.replace("towers.image.", "towers.stack.slice.").replace("heads.image/", "heads.stack/") for n in first
    } if name.startswith("heads.")} == {"stack/volume"}  # fmt: skip


def test_a_3d_tower_starts_as_the_2d_tower_of_a_model_of_images(hospital: Path, tiny_run: Any, tmp_path: Path) -> None:
    prefix = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"], "slice_mm": 20}, {"name": "sections"}]
    solid = tree(tmp_path, "solid", {"root": str(hospital), "layout": "phantom", "prefix": prefix})
    solid["model"] = {**STACKS, "vision": {"name": "inflated", "slice": VISION}}
    solid["init_from"] = str(tiny_run.bundle)
    solid["phases"][0]["trainable"] = ["model.heads.stack/volume*"]
    done = load_bundle(train(load_config(write_tree(tmp_path / "solid.yaml", solid))).bundle).model.state_dict()
    inflated = 0
    for name, tensor in load_bundle(tiny_run.bundle).model.state_dict().items():
        other = done[name.replace("towers.image.", "towers.stack.slice.").replace("heads.image/", "heads.stack/")]
        if other.dim() == 5:
            inflated += 1
            assert torch.equal(other, (tensor / 3)[:, :, None].expand_as(other)), name
        else:
            assert torch.equal(other, tensor), name
    assert inflated > 5
