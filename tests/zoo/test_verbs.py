"""A converted bundle is a bundle: the commands take it, and training starts from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from typer.testing import CliRunner

from medvlp.cli.main import app
from medvlp.core.errors import ConfigError
from medvlp.io import write_png
from medvlp.io.image import Image
from medvlp.models.build import build_model
from medvlp.models.bundle import load_bundle
from medvlp.runs.start import start_from
from tests.zoo.test_transformers import clip_folder


def run(*words: object) -> str:
    said = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.output


def test_convert_then_predict_embed_and_start_a_training(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    bundle = tmp_path / "bundle"
    told = run("convert", tmp_path / "clip", "--from", "transformers", "--out", bundle)
    assert "parameters" in told
    picture = tmp_path / "a.png"
    write_png(Image(np.random.default_rng(0).random((50, 40), dtype=np.float32)), picture)
    scores = json.loads(run("predict", bundle, picture, "--recipe", "chexzero_v1", "--json"))["results"][0]["scores"]
    assert all(0 < each < 1 for each in scores.values())
    assert {"effusion", "edema"} <= set(scores)
    (tmp_path / "m.csv").write_text("id,patient_id,image,text\na,p,a.png,No effusion.\n")
    run("embed", bundle, tmp_path / "m.csv", "--out", tmp_path / "e.parquet", "--workers", "1")
    # A new model of that architecture takes its weights; what it will learn from is another matter.
    given = load_bundle(bundle)
    fresh = build_model(given.model.spec, tokenizer=given.tokenizer, seed=5)
    start_from(fresh, bundle)
    first, second = given.model.state_dict(), fresh.state_dict()
    assert all(np.array_equal(first[name].numpy(), second[name].numpy()) for name in first)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("labels=[edema,edema]", "A head's findings are .'edema', 'edema'.: name each once"),
        ("preset=dicom_voi_v9", "dicom_voi_v9"),
    ],
)
def test_a_bundle_that_no_command_could_load_is_not_written(tmp_path: Path, option: str, said: str) -> None:
    tower = timm.create_model("resnet10t", num_classes=2)
    torch.save(tower.state_dict(), tmp_path / "r10.pth")
    words = ["convert", str(tmp_path / "r10.pth"), "--from", "timm", "--out", str(tmp_path / "b"), option]
    found = CliRunner().invoke(app, [*words, "architecture=resnet10t"]).exception
    assert isinstance(found, ConfigError)
    assert re.search(said, str(found))
    assert not (tmp_path / "b").exists()


def test_a_wrong_family_exits_2_with_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvlp.cli import main as command

    (tmp_path / "other.pt").write_bytes(b"PK not a zip")
    argv = ["medvlp", "convert", str(tmp_path / "other.pt"), "--from", "open_clip", "--out", str(tmp_path / "b")]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 2
    assert "cannot be read as weights alone" in capfd.readouterr().err
    assert not (tmp_path / "b").exists()
