"""One model of films and volumes, from a folder with both to scores of single files."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.answers.sentences.calibration import SentenceCalibration
from medvlp.answers.sentences.evaluator import SentenceEvaluator
from medvlp.config.tree import load_config
from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Column
from medvlp.data.layouts.phantom import index
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle
from medvlp.phantom.cohort import make_cohort
from medvlp.runs.start import start_from
from medvlp.runs.train import Trained, train
from medvlp.serving.reader import Reader
from medvlp.statistics.conformal_sets import SetRule
from medvlp.text import train_wordpiece
from tests.config.test_configs import World, toy
from tests.models.words import DUAL, VISION, HashWords, dual, images
from tests.tiny import write_tree

if TYPE_CHECKING:
    pass

BOTH = {**DUAL, "stack": {"name": "slices", "slice": VISION}}
ONE_TRUNK = {**DUAL, "stack": {"name": "slices", "slice": "image"}}


@pytest.fixture(scope="module")
def both(films_and_volumes: Path) -> Path:
    """The same twelve people's radiographs and volumes."""
    return films_and_volumes


@pytest.fixture(scope="module")
def released(both: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A step of the shipped recipe, at toy size, with one trunk for both."""
    folder = tmp_path_factory.mktemp("films_and_ct")
    tree = toy(load_tree("pretrain/phantom_films_and_ct.yaml"), folder, World(both, both=both))
    tree["model"]["stack"]["slice"] = "image"
    next(view for view in tree["data"]["prefix"] if view["name"] == "read_volume")["windows"] = ["ct_lung_v1"]
    return train(load_config(write_tree(folder / "toy.yaml", tree)))


def test_cohorts_side_by_side_are_one_manifest_of_the_same_people(both: Path) -> None:
    manifest = index(both)
    films, volumes = index(both / "cxr"), index(both / "ct")
    assert len(manifest) == len(films) + len(volumes)
    assert set(films.column("id.patient")) == set(volumes.column("id.patient")) == set(manifest.column("id.patient"))
    for place in range(len(manifest)):
        record = manifest.record(place)
        (path,) = [*manifest.paths(place, "image"), *manifest.paths(place, "volume")]  # each row one of the two
        assert path.is_file()
        assert path.is_relative_to(both / ("ct" if record["view_position"] == "CT" else "cxr"))
        film = "image" in record
        source = films if film else volumes
        original = source.record(source.column("id").tolist().index(record["id"]))
        left_out = {"image", "volume", *(() if film else (*source.names_of("boxes"), *source.names_of("mask")))}
        assert {n: v for n, v in record.items() if n not in ("image", "volume")} == {
            n: v for n, v in original.items() if n not in left_out
        }
    sides = {(manifest.column("id.patient")[i], manifest.column("split")[i]) for i in range(len(manifest))}
    assert len(sides) == len({patient for patient, _ in sides})


def test_cohorts_of_other_people_are_not_put_together(both: Path, tmp_path: Path) -> None:
    shutil.copytree(both / "ct", tmp_path / "ct", copy_function=os.link)
    make_cohort(tmp_path / "other", patients=1, modality="ct", image_size=32, seed=5, workers=1)
    with pytest.raises(DataError, match=r"holds cohorts of other people \(seeds 0, 5\).* make them with one seed"):
        index(tmp_path)


def test_each_file_is_scored_as_what_it_is(both: Path, released: Trained, tmp_path: Path) -> None:
    manifest = index(both)
    model = medvlp.load(released.bundle)
    kinds = manifest.column("view_position") == "CT"
    film, volume = (
        manifest.paths(int(np.flatnonzero(kinds == ct)[0]), "volume" if ct else "image")[0] for ct in (0, 1)
    )
    assert (model.kind_of(film), model.kind_of(volume), model.kind_of(np.zeros((8, 8)))) == ("image", "stack", "image")
    assert model.model.kinds == ("image", "stack")
    together = predict_files(model, [volume, film, volume])["results"]
    assert [each["path"] for each in together] == [str(volume), str(film), str(volume)]
    for path, each in zip((volume, film), together, strict=False):
        (alone,) = predict_files(model.of_kind(model.kind_of(path)), [path])["results"]
        assert each["scores"] == alone["scores"]
    assert together[0]["scores"] == together[2]["scores"] != together[1]["scores"]
    assert together[0]["slices"]["count"] > 1
    assert "slices" not in together[1]
    told: list[int] = []
    with pytest.raises(UserError, match=r"they need a model of pictures and an answer that shows where it looked"):
        predict_files(model, [film, volume], maps=tmp_path / "maps", progress=lambda done, total: told.append(done))
    assert not told, "no file is read before"
    weighed = model.slice_weights(volume)
    assert weighed.weights is not None
    assert np.array_equal(weighed.weights, model.of_kind("stack").slice_weights(volume).weights)
    assert together[0]["slices"]["heaviest"] == weighed.shown + 1
    said = model.ask("zero_shot", [volume, film, volume])
    assert said.ids == ("0", "1", "2")
    assert said.scores is not None
    own = (("stack", volume), ("image", film))
    for name, scores in said.scores.items():
        alone = [model.of_kind(kind).ask("zero_shot", path).scores for kind, path in own]
        np.testing.assert_allclose(scores[:2], [each[name][0] for each in alone if each], atol=1e-6)  # pyrefly: ignore
        assert scores[2] == scores[0]
    rows = model.embed_image([str(volume), str(film)])
    np.testing.assert_allclose(rows[:1], model.of_kind("stack").embed_image(str(volume)), atol=1e-6)
    np.testing.assert_allclose(rows[1:], model.of_kind("image").embed_image(str(film)), atol=1e-6)


def test_what_was_calibrated_on_films_says_nothing_of_sentences_about_a_volume(both: Path, released: Trained) -> None:
    bundle = load_bundle(released.bundle)
    heard = SentenceCalibration(
        1.0, {"negation/effusion/present": 1.0}, {}, {}, scale=1.0, strength=1.0, n=9, patients=9
    )
    found = SentenceEvaluator(np.ones(bundle.model.embed_dim), heard, heard, {"negation": SetRule(0.9, 0, 0, 50, 50)})
    reader = Reader(VisionLanguageModel(replace(bundle, sentences={**found.to_plain(), "evidence": {}})))
    manifest = index(both)
    row = {field: next(i for i in range(len(manifest)) if field in manifest.record(i)) for field in ("image", "volume")}
    film, volume = (reader.prepare(manifest.paths(i, field)[0]) for field, i in row.items())
    said = [reader.ask(each, "Pleural effusion.") for each in (film, volume)]
    assert [(each["calibrated"], each["probability"] is None) for each in said] == [(True, False), (False, True)]
    words = reader.model.embed_text([said[1]["statement"], said[1]["denial"]])
    alone = reader.model.embed_prepared([volume.pixels])[0] @ (words[0] - words[1])
    assert said[1]["margin"] == pytest.approx(alone, abs=1e-6)
    judged = [reader.check_report(each, "Pleural effusion.")["sentences"][0] for each in (film, volume)]
    assert judged[0]["verdict"] != "not_judged"
    why = "Sentences were calibrated on pictures of another kind."
    assert (judged[1]["verdict"], judged[1]["why"]) == ("not_judged", why)


def test_words_are_compared_with_a_volume_by_its_own_tokens(both: Path) -> None:
    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    local = {f"{view}/local": {"name": "projection", "reads": "tokens"} for view in ("image", "stack", "text")}
    prompts = [{"name": "v1", "label": "effusion", "positive": ["effusion"], "negative": ["no effusion"]}]
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": prompts}, score={"name": "late_interaction"})
    read = [{"name": "read", "size": 32}, {"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}]
    built = build_model({**BOTH, "heads": local}, tokenizer=words)
    model = VisionLanguageModel(Bundle(built, words, read, answers=(asked,)))
    manifest = index(both / "ct")
    said = [Reader(each) for each in (model, model.of_kind("stack"))]
    margins = [each.ask(each.prepare(manifest.paths(0, "volume")[0]), "Effusion.")["margin"] for each in said]
    assert np.isfinite(margins).all()
    assert margins[0] == margins[1] != 0


def test_a_shared_trunk_is_there_once_and_looks_at_slices_as_at_images() -> None:
    model = dual(ONE_TRUNK).eval()
    own = dual(BOTH).eval()
    assert not any(name.startswith("towers.stack.") for name in model.state_dict())
    assert sum(p.numel() for p in own.parameters()) > sum(p.numel() for p in model.parameters())
    pixels, owner = images(3), torch.arange(3)
    batch = Batch.of({"image": pixels}).with_columns({"stack": Column(pixels[:, None], owner)})
    rows = model(batch, Plan.of(keys("image/pooled", "stack/pooled")))
    torch.testing.assert_close(rows["stack"].pooled, rows["image"].pooled)
    again = build_model(model.spec, tokenizer=HashWords())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(batch, Plan.of(keys("stack/raw")))["stack"].part("raw"), rows_of(model, batch))


def rows_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return model(batch, Plan.of(keys("stack/raw")))["stack"].part("raw")


def test_a_model_of_two_kinds_is_one_of_each_with_the_same_weights() -> None:
    model = dual(BOTH)
    assert (model.vision_kind, model.kinds) == ("image", ("image", "stack"))
    asked = model.of_kind("stack")
    assert (asked.vision_kind, asked.kinds) == ("stack", ("stack",))
    assert (model.vision_kind, model.kinds) == ("image", ("image", "stack"))
    assert all(a is b for a, b in zip(asked.parameters(), model.parameters(), strict=True))
    with pytest.raises(ConfigError, match="This model encodes stack and not image: choose another"):
        asked.of_kind("image")


def test_a_model_of_films_can_start_one_of_both(released: Trained, tmp_path: Path) -> None:
    """The films' tower, the words and the scale come with their weights; that of volumes starts as it would have."""
    from medvlp.models.bundle import Bundle, load_bundle, save_bundle

    words = load_bundle(released.bundle).tokenizer
    films = build_model(DUAL, tokenizer=words, seed=1)
    save_bundle(tmp_path / "films", Bundle(films, words, preprocessing=[{"name": "read", "size": 32}]))
    model, fresh = (build_model(BOTH, tokenizer=words, seed=2) for _ in range(2))
    start_from(model, tmp_path / "films")
    there, unknown = dict(films.state_dict()), dict(fresh.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, there.get(name, unknown[name])), name
        assert (name in there) != ("stack" in name), name


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({**DUAL, "stack": VISION}, r"model.stack: 'timm' encodes image and not stack: choose another"),
        (
            {**BOTH, "vision": {"name": "slices", "slice": VISION}},
            r"model.stack: the vision tower encodes stacks already: make it one of images, or leave stack out",
        ),
        (
            {**DUAL, "vision": {"name": "slices", "slice": "image"}},
            r"model.vision.slice is 'image', and the model has no tower of images to share: give it one",
        ),
    ],
)
def test_towers_that_do_not_fit_each_other_are_refused(spec: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_model(spec, tokenizer=HashWords())
