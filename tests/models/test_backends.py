"""Towers of another engine give torch's rows, or say that they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.models.backends import compiled, engines
from medvlp.models.backends.compiled import use_backend
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._embedders import embedders
from tests.models.words import DUAL, VISION, VIT, HashWords

pytestmark = pytest.mark.slow  # each compiles towers

ENGINES = list(engines.ENGINES)
RESNET = {"name": "timm", "architecture": "resnet10t", "image_size": 64, "channels": 1, "unshuffle": 2, "columns": 2}
RESNET |= {"coordinates": True, "options": {"channels": [8, 8, 16, 16], "stem_width": 8}}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    for package in {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"]}[request.param]:
        pytest.importorskip(package, reason="an engine that computes towers, in the extra `serve`")
    return request.param


def model(vision: dict[str, Any] = VISION) -> Any:
    return build_model({**DUAL, "vision": vision}, tokenizer=HashWords(), seed=3).eval()


def images(count: int, side: int = 32) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(count))


def texts(count: int, length: int = 9) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(count)
    mask = torch.arange(length)[None] < torch.randint(1, length + 1, (count, 1), generator=draw)
    return torch.randint(3, HashWords().vocab_size, (count, length), generator=draw), mask


def alike(found: Encoded, expected: Encoded, parts: set[str]) -> None:
    assert found.grid == expected.grid
    for name in parts:
        got, want = getattr(found, name), getattr(expected, name)
        if want.dtype == torch.bool:
            assert torch.equal(got, want)
        else:
            there = want.flatten(1) if name == "pooled" else (want * expected.mask[..., None]).flatten(1)
            other = got.flatten(1) if name == "pooled" else (got * expected.mask[..., None]).flatten(1)
            assert nn.functional.cosine_similarity(other, there).min() > 0.9995


@pytest.mark.parametrize("vision", [VISION, RESNET], ids=["small", "as the quick start's"])
def test_any_number_of_images_is_as_torch_has_them(engine: str, vision: dict[str, Any]) -> None:
    plain, other = model(vision).towers["image"], model(vision)
    (image, _) = use_backend(other, engine)
    parts = {"pooled", "tokens", "mask"}
    with torch.inference_mode():
        for count in (3, 1, 8, 5):
            pixels = images(count, plain.image_size)
            expected = plain(pixels, parts=frozenset(parts))
            alike(other.towers["image"](pixels, parts=frozenset(parts)), expected, parts)
    assert 0.9995 < image.cosine <= 1.0001


def test_what_torch_warns_of_its_own_code_is_not_shown(engine: str, recwarn: pytest.WarningsRecorder) -> None:
    other = model()
    use_backend(other, engine)
    with torch.inference_mode():
        other.towers["image"](images(2), parts=frozenset({"pooled"}))
    assert [str(each.message) for each in recwarn if each.category is FutureWarning] == []


def test_texts_of_any_length_once_there_are_many(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other = model().towers["text"], model()
    (_, tower) = use_backend(other, engine)
    parts = frozenset({"pooled"})
    with torch.inference_mode():
        ids, mask = texts(4)
        few = other.towers["text"](ids, parts=parts, mask=mask)
        assert torch.equal(few.pooled, plain(ids, parts=parts, mask=mask).pooled)
        assert tower.cosine == 1.0
        monkeypatch.setattr(compiled, "WORTH", 4)
        for count, length in ((5, 9), (1, 4), (7, 12)):
            ids, mask = texts(count, length)
            alike(other.towers["text"](ids, parts=parts, mask=mask), plain(ids, parts=parts, mask=mask), {"pooled"})
            alike(other.towers["text"](ids, parts=parts), plain(ids, parts=parts), {"pooled"})
    assert tower.cosine != 1.0


def test_the_slices_of_a_stack_go_through_the_tower_of_one(engine: str) -> None:
    spec = {**DUAL, "vision": {"name": "slices", "slice": VISION}}
    plain, other = (build_model(spec, tokenizer=HashWords(), seed=3).eval() for _ in range(2))
    towers = use_backend(other, engine)
    stack, mask = images(6).view(2, 3, 1, 32, 32), torch.tensor([[True, True, True], [True, True, False]])
    place = torch.arange(18.0).view(2, 3, 3)
    with torch.inference_mode():
        given = {"parts": frozenset({"pooled"}), "mask": mask, "position": place}
        alike(other.towers["stack"](stack, **given), plain.towers["stack"](stack, **given), {"pooled"})
    assert towers[0].cosine != 1.0


def test_gradients_and_the_inside_of_a_tower_are_torchs(engine: str) -> None:
    plain, other = model(RESNET).towers["image"], model(RESNET)
    use_backend(other, engine)
    given = images(2, 64)
    pixels = given.clone().requires_grad_()
    rows = other.towers["image"](pixels, parts=frozenset({"pooled"}))
    rows.pooled.sum().backward()
    assert pixels.grad is not None
    assert torch.equal(rows.pooled, plain(given, parts=frozenset({"pooled"})).pooled)
    with torch.inference_mode():
        level = frozenset({"level[0]"})
        found, expected = (tower(given, parts=level).extra["level[0]"] for tower in (other.towers["image"], plain))
        assert torch.equal(found, expected)


def test_an_engine_that_disagrees_is_refused(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LEAST_COSINE", 1.1)
    other = model()
    use_backend(other, engine)
    with torch.inference_mode(), pytest.raises(UserError, match=r"computes the tower of image otherwise than torch"):
        other.towers["image"](images(2), parts=frozenset({"pooled"}))


def test_a_tower_without_a_graph_is_said() -> None:
    """OpenVINO has no average over two pixels of a map of one, which torch makes at the border."""
    pytest.importorskip("openvino", reason="an engine that computes towers, in the extra `serve`")
    other = model({**RESNET, "image_size": 32})
    use_backend(other, "openvino")
    with torch.inference_mode(), pytest.raises(UserError, match=r"openvino has no graph for this tower .* torch\."):
        other.towers["image"](images(2), parts=frozenset({"pooled"}))


_SIGNAL_AFTER_TWO_ENGINES = """
import gc, os, signal
import torch
from medvlp.models.backends.engines import openvino

signal.signal(signal.SIGTERM, lambda *_: print("handled"))
first, second = (openvino()(torch.nn.Linear(2, 2), (torch.ones(2, 2),), ({},)) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_handled_after_engines_have_gone() -> None:
    """Two cores of OpenVINO, the first gone first, leave the thread a stack for signals that is no longer there."""
    pytest.importorskip("openvino", reason="an engine that computes towers, in the extra `serve`")
    ran = subprocess.run([sys.executable, "-c", _SIGNAL_AFTER_TWO_ENGINES], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "handled\n")


def test_openvino_makes_no_identifier_for_reports_of_usage(tmp_path: Path) -> None:
    """Its import sends an event under a number of this machine, unless this is a build of continuous integration."""
    pytest.importorskip("openvino_telemetry", reason="what comes with openvino, an engine of the extra `serve`")
    away = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    start = "from medvlp.models.backends.engines import openvino; openvino()"
    ran = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, env=away)
    assert (ran.returncode, [path.name for path in tmp_path.rglob("*openvino*")]) == (0, []), ran.stderr


def test_a_graph_tells_no_path_of_the_machine_that_made_it() -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="what writes ONNX, in the extra `serve`")
    rows = torch.export.Dim("rows", min=1)
    traced = engines.exported(nn.Sequential(nn.Linear(4, 4), nn.GELU()), (torch.rand(2, 4),), ({0: rows},))
    whole = engines.as_onnx(traced).SerializeToString()
    assert str(Path(torch.__file__).parent).encode() not in whole
    assert b".py" not in whole


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no backend 'tensorrt': choose torch, openvino, onnxruntime, int8"):
        use_backend(model(), "tensorrt")
    patched = build_model(
        {**DUAL, "patches": [{"name": "adapter", "on": "block.after[0]"}]}, tokenizer=HashWords(), seed=3
    ).eval()
    with pytest.raises(ConfigError, match=r"patches, which have no place in a graph of openvino"):
        use_backend(patched, "openvino")
    assert use_backend(model(), "torch") == []
    with pytest.raises(UserError, match=r"openvino computes on the processor, and the model is on meta: use torch"):
        use_backend(model().to("meta"), "openvino")


def test_patches_that_act_in_training_alone_have_no_part_in_a_graph(engine: str) -> None:
    specs = [{"name": "masked_image", "share": 1.0}, {"name": "noise"}, {"name": "mask_words"}]
    specs += [{"name": "token_dropout", "view": "image.local"}]
    plain = model(VIT)
    patched = build_model({**plain.spec, "patches": specs}, tokenizer=HashWords(), seed=3).eval()
    patched.load_state_dict(plain.state_dict(), strict=False)
    image, text = use_backend(patched, engine)
    parts, pixels = frozenset({"pooled", "tokens"}), images(8, 64)
    with torch.inference_mode():
        alike(patched.towers["image"](pixels, parts=parts), plain.towers["image"](pixels, parts=parts), {*parts})
        patched.towers["text"](texts(64)[0], mask=texts(64)[1], parts=frozenset({"pooled"}))
    assert min(image.cosine, text.cosine) > 0.9995
    assert [each.name for each in embedders(Bundle(patched, HashWords(), preprocessing=[]))] == ["image", "text"]


def test_a_mixture_of_two_towers_is_one_graph(engine: str) -> None:
    own, pixels = model({"name": "mof", "first": RESNET, "second": RESNET}), images(3, 64)
    tower, parts = own.towers["image"], frozenset({"pooled", "tokens"})
    with torch.inference_mode():
        expected = tower(pixels, parts=parts)
        assert [each.cosine for each in use_backend(own, engine)] == [1.0, 1.0]  # with that of texts
        alike(tower(pixels, parts=parts), expected, {"pooled", "tokens"})
