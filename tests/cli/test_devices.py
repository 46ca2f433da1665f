"""What commands compute on a device is what the processor gives: nothing of a model is left on the processor.

The device refuses tensors that lie elsewhere, and float64, as that of a Mac does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from medvlp.core import collectives, devices
from medvlp.core.keys import Plan
from medvlp.core.protocols import HeadSpec
from medvlp.core.table import FeatureTable
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, save_bundle
from medvlp.models.scores.cross_decoder import CrossDecoder
from medvlp.text.wordpiece import train_wordpiece
from tests.answers.tiny import TOKENS
from tests.models.words import DUAL
from tests.runs.test_adapt import films
from tests.training.elsewhere import ELSEWHERE, Devices

if TYPE_CHECKING:
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]


@pytest.fixture
def on_both(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Give what a command says on the processor and on the device ``mps`` of this machine; OUT is a path of each."""
    here, wide = devices.local_device, {ELSEWHERE: torch.float32}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "local_device", lambda kind: ELSEWHERE if kind == "mps" else here(kind))
    monkeypatch.setattr(collectives, "widest", lambda device: wide.get(device, torch.float64))

    def run(read: Callable[[Ran, Path], Any], *words: object) -> list[Any]:
        found = []
        for device in ("cpu", "mps"):
            out = tmp_path / device
            with Devices(repeatable=False, wide=False) as there:
                told = cli(*(str(word).replace("OUT", str(out)) for word in words), "--device", device)
            assert told.code == 0, told.err
            assert (there.convolutions > 0) == (device == "mps")
            found.append(read(told, out))
        return found

    return run


def document(told: Ran, out: Path) -> list[dict[str, Any]]:
    return json.loads(told.out)["results"]


def numbers(told: Ran, out: Path) -> dict[str, Any]:
    """Every number of every results file, by what it is of."""
    rows = {}
    for path in sorted((out / "results").glob("*.json")):
        for at, row in enumerate(json.loads(path.read_text()).get("metrics", ())):
            rows[path.stem, at, row["metric"], row["label"]] = [row[name] for name in ("value", "low", "high")]
    assert rows
    return rows


def check_scores(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)


@pytest.fixture
def pictures(tiny_run: Trained) -> list[Path]:
    return [tiny_run.manifest.path(row) for row in range(4)]


def test_scores_and_maps_of_files(on_both: Callable[..., list[Any]], tiny_run: Trained, pictures: list[Path]) -> None:
    here, there = on_both(document, "predict", tiny_run.bundle, *pictures, "--maps", "OUT", "--workers", 0, "--json")
    check_scores(there, here)


def test_a_score_that_has_learnt(on_both: Callable[..., list[Any]], pictures: list[Path], tmp_path: Path) -> None:
    """Its weights are the answer's and not the model's."""
    words = train_wordpiece(["pleural effusion", "no edema"] * 2, vocab_size=64, max_length=16)
    model = build_model({**DUAL, "embed_dim": 8}, tokenizer=words, seed=1)
    model.mount({"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}, Plan.of(TOKENS))
    torch.manual_seed(0)
    score = {"name": "cross_decoder", "width": 8, "layers": 1, "heads": 2, "feedforward": 16, "hidden": [8]}
    made = CrossDecoder(**{key: value for key, value in score.items() if key != "name"})
    prompts = [{"name": "p", "label": "effusion", "positive": ["effusion"], "negative": ["no effusion"]}]
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": prompts}, ["effusion"], score, made.state_dict())
    save_bundle(tmp_path / "bundle", Bundle(model, words, [{"name": "read", "size": 32}], answers=(asked,)))
    here, there = on_both(document, "predict", tmp_path / "bundle", *pictures, "--workers", 0, "--json")
    check_scores(there, here)


def test_a_table_of_features(
    on_both: Callable[..., list[Any]], tiny_run: Trained, pictures: list[Path], tmp_path: Path
) -> None:
    tiny_run.manifest.take(np.arange(4)).save(tmp_path / "m.parquet")
    words = ("embed", tiny_run.bundle, tmp_path / "m.parquet", "--out", "OUT.parquet", "--workers", 1)
    here, there = on_both(lambda told, out: FeatureTable.load(out.with_suffix(".parquet")), *words)
    assert here.columns.keys() == there.columns.keys()
    for name in here.columns:
        if here[name].dtype == np.float32:
            np.testing.assert_allclose(there[name], here[name], atol=1e-6)


@pytest.mark.slow
def test_an_evaluation(on_both: Callable[..., list[Any]], tiny_run: Trained) -> None:
    data = [f"data.root={tiny_run.manifest.root}", "data.near_images=false", "data.allow_leaks=true"]
    few = ["evaluation.resamples=100", "evaluation.min_positives=1", "evaluation.gallery=2", "out=OUT"]
    here, there = on_both(numbers, "evaluate", "evaluate/phantom.yaml", f"model={tiny_run.bundle}", *data, *few)
    assert {"zero_shot", "retrieval", "linear_probe", "grounding_hires_cam"} <= {name for name, *_ in here}
    assert here.keys() == there.keys()
    for key, values in here.items():
        assert there[key] == pytest.approx(values, abs=1e-5, nan_ok=True), key


@pytest.mark.slow
def test_an_adaptation(on_both: Callable[..., list[Any]], tmp_path: Path) -> None:
    folder = films(tmp_path / "made")
    given = ["--images", folder / "films", "--labels", folder / "labels.csv", "--model", folder / "bundle"]
    here, there = on_both(numbers, "adapt", *given, "--out", "OUT", "--adapter", "linear", "--workers", 1)
    assert here.keys() == there.keys()
    for key, values in here.items():
        assert there[key] == pytest.approx(values, abs=1e-4, nan_ok=True), key
