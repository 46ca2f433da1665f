"""``medvlp gate``: a bundle that was released without a gate gets one from its run's data, and ``predict`` abstains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from tests.models.test_gate import chests
from tests.tiny import tiny_tree

PROMPTS = [{"name": "p", "label": "effusion", "positive": ["effusion"], "negative": ["no effusion"]}]


def released(folder: Path, *, train: int, validate: int) -> Path:
    """A run folder as training leaves it, of pictures in PNG files and a table; its model has learnt nothing."""
    from medvlp.text.wordpiece import train_wordpiece

    rows = ["file,patient,split"]
    (folder / "data").mkdir(parents=True)
    for name, count, seed in (("train", train, 0), ("validate", validate, 1)):
        for i, picture in enumerate(chests(count, seed=seed)):
            Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8)).save(folder / f"data/{name}{i}.png")
            rows.append(f"{name}{i}.png,{name}{i},{name}")
    (folder / "data/table.csv").write_text("\n".join(rows) + "\n")
    prefix = [{"name": "read", "size": 32}]
    tree = tiny_tree(folder / "run", folder / "data", folder / "cache")
    columns = {"image": "file", "id.patient": "patient", "split": "split"}
    tree["data"] = {"root": str(folder / "data"), "table": "table.csv", "columns": columns, "prefix": prefix}
    tree["data"] |= {"cache": str(folder / "cache"), "split": {"name": "own"}, "near_images": False}
    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": PROMPTS}, ["effusion"], {"name": "dot"})
    save_bundle(folder / "run/bundle", Bundle(model, words, preprocessing=prefix, answers=(asked,)))
    (folder / "run/config.yaml").write_text(yaml.safe_dump(tree))
    return folder / "run"


def test_a_bundle_is_given_a_gate_and_predict_abstains(cli, tmp_path):
    run = released(tmp_path, train=120, validate=60)
    said = cli("gate", run, "--out", tmp_path / "gated").out
    assert "gated: abstains from pictures unlike its 120 of training; flags 2% of its own kind, by 60 valid" in said
    assert load_bundle(run / "bundle").gate is None
    Image.fromarray(np.full((40, 40), 200, np.uint8)).save(tmp_path / "blank.png")
    own = tmp_path / "data/train0.png"
    told = json.loads(cli("predict", tmp_path / "gated", own, tmp_path / "blank.png", "--json").out)["results"]
    assert [each["abstained"] for each in told] == [False, True]
    assert told[1]["ood"]["reasons"][0] == "blank"
    text = cli("predict", tmp_path / "gated", own, tmp_path / "blank.png").out
    assert text.count("effusion") == 1
    assert "not scored: unlike the pictures that this model was trained on (the picture is blank; " in text
    table = tmp_path / "scores.csv"
    said = cli("predict", tmp_path / "gated", own, tmp_path / "blank.png", "--out", table).out
    assert said.startswith(f"{table}: 2 rows, 1 of them held back by the gate (group:gate)")
    cli("gate", run, "--rate", "0.1")
    made = load_bundle(run / "bundle").gate
    assert made is not None
    assert made.rate == 0.1


def test_what_cannot_have_a_gate_is_told(cli, tmp_path):
    run = released(tmp_path / "few", train=20, validate=5)
    assert cli("gate", run).refused() == (
        f"medvlp: {run}: The bundle has no gate against odd pictures: one that flags 2% of its own kind needs "
        "100 training and 49 validation pictures, there are 20 and 5."
    )
    said = cli("gate", run, "--rate", "0.005").refused()
    assert "one that flags 0.5% of its own kind needs 100 training and 199 validation pictures" in said
    assert "its rate must be above 0" in cli("gate", run, "--rate", "0").refused()
    for rate in ("nan", "2", "-1"):
        assert "medvlp: --rate: rate is " in cli("gate", run, "--rate", rate).refused()
    assert "is not a run folder" in cli("gate", tmp_path).refused()
