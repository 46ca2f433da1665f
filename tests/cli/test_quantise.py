"""Towers in 8 bits: calibrated on training pictures alone, near torch on others, and kept with what they change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from medvlp.answers.asking.model import load
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.data.manifest import Manifest
from medvlp.models.backends.compiled import use_backend
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from medvlp.runs.quantise import quantise
from medvlp.text.wordpiece import train_wordpiece
from tests.data.volumes import volume_cohort
from tests.models.words import DUAL, VISION, HashWords

onnx = pytest.importorskip("onnx", reason="what reads and writes graphs, in the extra `serve`")
for package in ("onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="an engine that computes towers, in the extra `serve`")

if TYPE_CHECKING:
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]

PARTS = {"train": 24, "validate": 30, "test": 12}
LABELS = ("effusion", "edema")
PROMPTS = [{"name": n, "label": n, "positive": [n], "negative": [f"no {n}"]} for n in LABELS]


def cohort(folder: Path, *, seeds: dict[str, int]) -> Path:
    """Smooth pictures of many kinds with drawn labels, two of each patient, and their manifest."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "image", "id.patient", "split")}
    columns |= {f"label.{name}": [] for name in LABELS}
    folder.mkdir(parents=True)
    for split, count in PARTS.items():
        draw = np.random.default_rng(seeds[split])
        for at in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (4, 4), dtype=np.uint8))
            coarse.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{split}{at}.png")
            row = {"id": f"{split}{at}", "image": f"{split}{at}.png", "id.patient": f"{split}{at // 2}", "split": split}
            for name, value in (row | {f"label.{name}": int(draw.integers(0, 2)) for name in LABELS}).items():
                columns[name].append(value)
    Manifest.of(columns, root=folder).save(folder / "manifest.parquet")
    return folder / "manifest.parquet"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model that has learnt nothing."""
    folder = tmp_path_factory.mktemp("plain") / "bundle"
    words = train_wordpiece(["pleural effusion", "no edema"] * 2, vocab_size=64, max_length=16)
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": PROMPTS}, list(LABELS), {"name": "dot"})
    model = build_model(DUAL, tokenizer=words, seed=3)
    save_bundle(folder, Bundle(model, words, preprocessing=[{"name": "read", "size": 32}], answers=(asked,)))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("data") / "films", seeds={"train": 0, "validate": 1, "test": 2})


@pytest.fixture(scope="module")
def made(plain: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle with its tower in 8 bits."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    quantise(plain, data, out=out, root=None, records=16, workers=1)
    return out


def films(data: Path, split: str) -> list[str]:
    return [str(data.parent / f"{split}{at}.png") for at in range(PARTS[split])]


def test_pictures_that_did_not_calibrate_are_near_torch(made: Path, data: Path) -> None:
    """A value in 8 bits is off by half a step of 255, 0.2 % of its range: less than pictures differ."""
    torchs, quick = load(made), load(made, backend="int8")
    one, other = (model.embed_image(films(data, "test")) for model in (torchs, quick))
    assert not np.array_equal(one, other)
    assert (one * other).sum(1).min() > 0.99
    assert (other @ one.T).argmax(1).tolist() == list(range(PARTS["test"]))
    alone = np.concatenate([quick.embed_image([each]) for each in films(data, "test")[:3]])
    assert np.abs(alone - other[:3]).max() < 1e-5
    assert np.array_equal(torchs.embed_text(["effusion"]), quick.embed_text(["effusion"]))


def test_weights_are_of_8_bits(made: Path) -> None:
    tower = load_bundle(made).model.towers["image"]
    graph = onnx.load(made / "int8" / "towers.image.onnx").graph
    held = dict.fromkeys(onnx.TensorProto.DataType.values(), 0)
    for each in (each for each in graph.initializer if len(each.dims) > 1):  # without offsets of output channels
        held[each.data_type] += int(np.prod(each.dims))
    matrices = [weight for weight in tower.parameters() if weight.dim() > 1]
    assert held[onnx.TensorProto.INT8] == sum(weight.numel() for weight in matrices)
    assert held[onnx.TensorProto.FLOAT] < 0.01 * held[onnx.TensorProto.INT8]


def test_what_it_changes_is_what_sklearn_says(made: Path, data: Path) -> None:
    found = load_bundle(made).int8.facts
    assert found["calibrated"] == {"records": 16, "data": Manifest.load(data).hash}
    parity, manifest = found["parity"], Manifest.load(data).split_of("validate")
    rows = {name: load(made, backend=name).embed_image(films(data, "validate")) for name in ("torch", "int8")}
    cosines = (rows["torch"] * rows["int8"]).sum(1)
    assert (parity["split"], parity["records"]) == ("validate", 30)
    assert parity["least"] == pytest.approx(cosines.min(), abs=1e-5)
    assert parity["mean"] == pytest.approx(cosines.mean(), abs=1e-5)
    area = found["auroc"]
    for name in rows:
        scores = load(made, backend=name).ask("zero_shot", films(data, "validate")).scores
        expected = np.mean([roc_auc_score(manifest.column(f"label.{each}"), scores[each]) for each in LABELS])
        assert area[name] == pytest.approx(expected, abs=1e-9)
    assert area["difference"] == pytest.approx(area["int8"] - area["torch"])
    assert area["low"] <= area["difference"] <= area["high"]
    assert (area["label"], area["patients"]) == ("macro", 15)


@pytest.mark.slow
def test_other_validation_and_test_pictures_leave_the_graph_as_it_is(plain: Path, made: Path, tmp_path: Path) -> None:
    other = cohort(tmp_path / "films", seeds={"train": 0, "validate": 7, "test": 8})
    again = quantise(plain, other, out=tmp_path / "bundle", root=None, records=16, workers=1)
    first = load_bundle(made).int8
    assert again.graphs == first.graphs
    assert again.facts["parity"] != first.facts["parity"]


def test_a_changed_or_unlisted_graph_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "bundle")
    graph = tmp_path / "bundle" / "int8" / "towers.image.onnx"
    held = bytearray(graph.read_bytes())
    held[len(held) // 2] ^= 1
    graph.write_bytes(held)
    with pytest.raises(UserError, match=r"towers\.image\.onnx is damaged or was changed since it was released"):
        load(tmp_path / "bundle")
    shutil.copy(made / "int8" / "towers.image.onnx", graph)
    shutil.copy(graph, graph.with_name("towers.stack.onnx"))
    with pytest.raises(UserError, match=r"does not list int8/towers\.stack\.onnx"):
        load(tmp_path / "bundle")


def test_a_bundle_saved_again_keeps_it_unless_its_weights_are_others(made: Path, tmp_path: Path) -> None:
    bundle = load_bundle(made)
    save_bundle(tmp_path / "same", bundle)
    assert load_bundle(tmp_path / "same").int8 == bundle.int8
    with torch.no_grad():
        next(bundle.model.parameters()).add_(1e-3)
    save_bundle(tmp_path / "other", bundle)
    assert load_bundle(tmp_path / "other").int8 is None
    assert not (tmp_path / "other" / "int8").exists()


def test_slices_go_through_the_quantised_tower_and_other_sizes_are_refused(made: Path) -> None:
    held = load_bundle(made)
    model: Any = build_model({**DUAL, "vision": {"name": "slices", "slice": VISION}}, tokenizer=HashWords()).eval()
    model.towers["stack"].slice.load_state_dict(held.model.towers["image"].state_dict())
    stack = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    asked = {"parts": frozenset({"pooled"}), "mask": torch.tensor([[True, True, True], [True, False, False]])}
    with torch.inference_mode():
        expected = model.towers["stack"](stack, **asked).pooled
        use_backend(model, "int8", type(held.int8)({"towers.stack.slice": held.int8.graphs["towers.image"]}, {}))
        found = model.towers["stack"](stack, **asked).pooled
        assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.99
        assert not torch.equal(found, expected)
        with pytest.raises(UserError, match=r"quantised for pixels of \[1, 32, 32\] and is given \[1, 64, 64\]: use"):
            model.towers["stack"](torch.rand(1, 1, 1, 64, 64), parts=frozenset({"pooled"}))


@pytest.mark.slow
def test_volumes_calibrate_by_their_slices(tmp_path: Path) -> None:
    words = train_wordpiece(["pleural effusion", "no edema"] * 2, vocab_size=64, max_length=16)
    model = build_model({**DUAL, "vision": {"name": "slices", "slice": VISION}}, tokenizer=words)
    read = {"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}
    save_bundle(tmp_path / "bundle", Bundle(model, words, preprocessing=[read]))
    table = volume_cohort(tmp_path / "ct")
    table.with_column("split", ["train"] * len(table)).save(tmp_path / "manifest.parquet")
    given = {"out": tmp_path / "made", "root": None, "records": 2, "workers": 1}
    found = quantise(tmp_path / "bundle", tmp_path / "manifest.parquet", **given)
    assert list(found.graphs) == ["towers.stack.slice"]
    assert found.facts["calibrated"]["records"] == 2
    assert found.facts["parity"]["split"] == "train"
    assert 0.99 < found.facts["parity"]["least"] <= 1.0001


def test_what_cannot_be_is_said(cli: Cli, plain: Path, data: Path, tmp_path: Path) -> None:
    film = films(data, "test")[0]
    told = cli("predict", plain, film, "--backend", "int8").refused()
    assert told == "medvlp: The bundle holds no towers in 8 bits: make one that does with `medvlp quantise`."
    table, place = Manifest.load(data), tmp_path / "manifest.parquet"
    given: dict[str, Any] = {"out": tmp_path / "out", "root": None, "records": 4, "workers": 1}
    table.without("split").save(place)
    with pytest.raises(DataError, match=r"split"):
        quantise(plain, place, **given)
    table.with_column("split", ["validate"] * len(table)).save(place)
    with pytest.raises(DataError, match=r"train"):
        quantise(plain, place, **given)
    table.with_column("id.patient", ["p"] * len(table)).save(place)
    with pytest.raises(DataError, match=r"The split leaks .* by patient"):
        quantise(plain, place, **given)
    patched = {**DUAL, "patches": [{"name": "adapter", "on": "block.after[0]"}]}
    with pytest.raises(ConfigError, match=r"patches, which have no place in a graph of int8"):
        use_backend(build_model(patched, tokenizer=HashWords()).eval(), "int8")
    assert not (tmp_path / "out").exists()


def test_predict_says_what_8_bits_change(cli: Cli, made: Path, data: Path) -> None:
    ran = cli("predict", made, films(data, "test")[0], "--backend", "int8")
    facts = load_bundle(made).int8.facts
    assert "Computed by int8. 8 bits: towers.image, calibrated on 16 records; all else is torch. Cosine" in ran.err
    assert f"torch on 30 records (validate): {facts['parity']['least']:.4f} or more" in ran.err
    assert f"AUROC (macro, 15 patients): {facts['auroc']['int8']:.3f}, by torch " in ran.err
