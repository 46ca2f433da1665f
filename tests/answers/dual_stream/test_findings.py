"""What a dual-stream model says of files: its words, their places, and maps in the pixels of the source."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.maps import overlay
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.cli.main import app
from medvlp.core.answers import Ask
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.map import Map
from medvlp.core.predictions import PairScores
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, save_bundle
from tests.answers.dual_stream.small import SIZE, small_bundle
from tests.models.words import DUAL, HashWords


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("findings") / "bundle"
    save_bundle(folder, small_bundle())
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> VisionLanguageModel:
    return load(bundle)


def look(model: VisionLanguageModel, image: Path, finding: str, place: str = "") -> Map:
    answer, prepared = model.answers["existence"], model.prepare(image)
    (found,) = answer.look(model.model, prepared.sample, model.begun(answer, Ask()), [(finding, place)]) or ()
    return found.placed(prepared.record)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def test_what_training_never_stated_both_ways_is_left_out_and_told(bundle: Path, picture: Path) -> None:
    model = load(bundle)
    head: Any = model.model.heads["image/medslip"]
    with torch.no_grad():
        head.said_pathology[0, 2] = 0  # no report said that there was no nodule
        head.said_pairs[1, 0, 1] = 0  # none placed an effusion at the left costophrenic angle
    result = predict_files(model, [picture])["results"][0]
    assert list(result["scores"]) == ["effusion", "no_finding"]
    assert result["warnings"] == [
        "1 of 3 words were never both present and absent in training: they are left out.",
        "1 of 6 pairs were never both present and absent in training: they are left out.",
    ]
    stated = {(pair["observation"], pair["anatomy"]) for pair in result["pairs"]}
    assert ("effusion", "left_costophrenic") not in stated
    assert predict_files(load(bundle), [picture])["results"][0]["warnings"] == []


def test_a_pair_is_stated_of_what_is_there_by_itself() -> None:
    values = np.array([[[0.9, 0.9], [0.8, 0.3]]], np.float32)
    every = np.ones((2, 2), dtype=bool)
    pairs = PairScores(("left", "right"), ("effusion", "nodule"), values, every, np.array([[0.4, 0.6]], np.float32))
    assert [(finding, place) for finding, place, _ in pairs.stated(0)] == [("nodule", "left")]


def test_a_map_lies_where_the_model_looked_in_the_pixels_of_the_source(
    model: VisionLanguageModel, picture: Path
) -> None:
    looked = look(model, picture, "effusion")
    assert looked.values.sum() == pytest.approx(1, abs=1e-5)
    assert looked.method == "cross_attention"
    assert looked.box == (0.0, -10.0, 40.0, 30.0)  # a square view around a wide picture
    assert looked.in_source(20, 40).shape == (20, 40)
    whole = Map(np.arange(16, dtype=np.float32).reshape(4, 4), looked.box)
    blocks = whole.in_source(20, 40, mode="nearest")
    assert np.unique(blocks).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]  # the first and last rows of cells are padding
    assert blocks[0, 0] == 4
    assert blocks[19, 39] == 11
    assert whole.peak() == (35.0, 25.0)
    beyond = Map(np.ones((2, 2), np.float32), (10.0, 0.0, 20.0, 10.0)).in_source(10, 40)
    assert beyond[:, :10].max() == beyond[:, 20:].max() == 0
    assert beyond[:, 10:20].min() == 1


def test_a_bundle_without_prompts_is_asked_for_its_findings(model: VisionLanguageModel, picture: Path) -> None:
    said = predict_files(model, [picture], name="m")
    assert said["recipe"] == "existence"
    (result,) = said["results"]
    assert list(result["scores"]) == ["nodule", "effusion", "no_finding"]
    assert result["calibrated"] is False
    assert all(pair["score"] >= 0.5 and set(pair) == {"observation", "anatomy", "score"} for pair in result["pairs"])
    with pytest.raises(ConfigError, match="'zero_shot' has no prompts and the model brings none"):
        predict_files(model, [picture], recipe="zero_shot")


def test_the_command_prints_findings_and_pairs(bundle: Path, picture: Path) -> None:
    told = CliRunner().invoke(app, ["predict", str(bundle), str(picture), "--json"])
    assert told.exit_code == 0, told.output
    result = json.loads(told.stdout)["results"][0]
    plain = CliRunner().invoke(app, ["predict", str(bundle), str(picture)])
    assert "effusion" in plain.stdout
    for pair in result["pairs"]:
        where = pair["anatomy"].replace("_", " ")
        assert f"{pair['observation']} at {where}: {pair['score']:.2f}" in plain.stdout


def test_where_it_looked_for_what_it_states_is_drawn_at_the_size_of_the_file(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "maps"
    asked = ["predict", str(bundle), str(picture), str(picture), "--maps", str(folder)]
    told = CliRunner().invoke(app, [*asked, "--json"])
    assert told.exit_code == 0, told.output
    results = json.loads(told.stdout)["results"]
    drawn = [each for result in results for each in result["maps"]]
    assert sorted(Path(each["map"]).name for each in drawn) == sorted(path.name for path in folder.iterdir())
    for number, result in enumerate(results, start=1):
        assert result["pairs"], "this model states something of this picture"
        places = {f"{p['observation']}_at_{p['anatomy']}" for p in result["pairs"]}
        words = {label for label, score in result["scores"].items() if score >= 0.5}
        names = {Path(each["map"]).name for each in result["maps"]}
        assert names == {f"{number:03d}_{name}.png" for name in places | words}
    model = load(bundle)
    for first in (results[0]["maps"][0], next(each for each in drawn if "anatomy" in each)):
        looked = look(model, picture, first["finding"], first.get("anatomy", ""))
        assert first["peak"] == pytest.approx(looked.peak(), abs=0.05)
        pixels, gray = np.asarray(Image.open(first["map"])).astype(int), np.asarray(Image.open(picture))
        assert pixels.shape == (20, 40, 3)
        assert set(np.unique(pixels - np.rint(overlay(model.picture(picture), looked)))) == {0}
        heat = looked.in_source(20, 40)
        # All red where it looked most.
        assert (pixels[..., 0] - pixels[..., 2])[heat == heat.max()].min() >= int(0.6 * 255) - 1
        np.testing.assert_allclose(model.picture(picture) * 255, gray, atol=0.51)
    plain = CliRunner().invoke(app, asked)
    assert all(f"({each['map']})" in plain.stdout.replace("\n", "") for each in drawn)


def test_answers_that_state_the_same_each_have_a_map_of_their_own(picture: Path, tmp_path: Path) -> None:
    """As of a recipe that teaches `medslip` and `clip`: existence and zero-shot pairs both state an effusion."""
    own = small_bundle()
    again = replace(own.answers[0], name="again")
    model = VisionLanguageModel(replace(own, answers=(*own.answers, again)))
    drawn = predict_files(model, [picture], maps=tmp_path / "maps")["results"][0]["maps"]
    named = [Path(each["map"]).name for each in drawn]
    assert sorted(named) == sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert {"001_effusion.png", "001_effusion_by_again.png"} <= set(named)


def test_maps_that_there_are_not_are_one_sentence(model: VisionLanguageModel, picture: Path, tmp_path: Path) -> None:
    sentence = "There are no maps of what this model says: they need a model of pictures and an answer that shows where"
    dual = Bundle(build_model(DUAL, tokenizer=HashWords()), None, [{"name": "read", "size": SIZE}])
    with pytest.raises(UserError, match=sentence):
        predict_files(VisionLanguageModel(dual), [picture], recipe="chexzero_v1", maps=tmp_path / "maps")
    with pytest.raises(UserError, match=r"wide\.png is a file, and maps go to a folder: name another"):
        predict_files(model, [picture], maps=picture)


def test_what_cannot_be_asked_is_one_sentence(picture: Path) -> None:
    with pytest.raises(UserError, match="not known where this view lies in its source: ask for a map of a file"):
        Map(np.ones((1, 1), np.float32)).in_source(2, 2)
    dual = Bundle(build_model(DUAL, tokenizer=HashWords()), None, [{"name": "read", "size": SIZE}])
    with pytest.raises(UserError, match="This bundle cannot be asked 'existence': "):
        VisionLanguageModel(dual).ask("existence", picture)


def test_it_is_loaded_by_the_package(bundle: Path) -> None:
    said = medvlp.load(bundle).ask("existence", np.zeros((8, 8)))
    assert said.scores is not None
    assert {name: values.shape for name, values in said.scores.items()} == dict.fromkeys(
        ("no_finding", "effusion", "nodule"), (1,)
    )
