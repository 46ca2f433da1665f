"""GLoRIA, MGCA, CXR-CLIP, MedCLIP: what their parts compute (torchvision, timm, transformers' BERT), put together by
hand as the papers' code does, the bundle computes; files as the projects wrote them."""

from __future__ import annotations

import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from medvlp.core.errors import DataError, UserError
from medvlp.zoo import convert, read_checkpoint
from medvlp.zoo._keys import folded
from tests.zoo.small import TEXTS, bert_words, changed, kept, natural, pictures, spoilt, units

JOINT = 32


def bert(layers: int = 4, *, hidden: int = 64, heads: int = 1, **options: Any) -> Any:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": hidden, "intermediate_size": 100, "num_hidden_layers": layers, "num_attention_heads": heads}
    return natural(BertModel(BertConfig(**sizes, vocab_size=86, **options)), seed=2)


def resnet(**options: Any) -> Any:
    return natural(torchvision.models.resnet50(**options), seed=1)


def under(prefix: str, module: nn.Module, *, drop: str | tuple[str, ...] = "-") -> dict[str, Tensor]:
    return {f"{prefix}{n}": t.clone() for n, t in module.state_dict().items() if not n.startswith(drop)}


def said(model: Any, words: Any) -> tuple[Any, Tensor]:
    ids = words(TEXTS, padding=True, return_tensors="pt")
    return model(**ids, output_hidden_states=True), ids["attention_mask"]


def features(model: Any, shown: Tensor) -> Tensor:
    model.fc = nn.Identity()
    return model(shown)


def imagenet(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (images - mean) / std


class Case:
    """A family's file, and what it computes of pictures and texts."""

    def __init__(self, side: int, held: Any, image: Callable[[Tensor], Tensor], text: Callable[[Any], Tensor]) -> None:
        self.side, self.held, self.image, self.text = side, held, image, text


def gloria() -> Case:
    seen, words, joined = resnet(), bert(), natural(nn.Linear(2048, 64))
    local = natural(nn.Conv2d(1024, 64, 1, bias=False))
    held = {**under("gloria.img_encoder.model.", seen, drop="fc"), **under("gloria.text_encoder.model.", words)}
    held |= under("gloria.img_encoder.global_embedder.", joined) | under("gloria.img_encoder.local_embedder.", local)
    held["gloria.text_encoder.model.embeddings.position_ids"] = torch.arange(512)[None]

    def text(tokens: Any) -> Tensor:
        out, mask = said(words, tokens)
        layers = torch.stack(out.hidden_states[-4:]).sum(dim=0)
        return (layers * mask[:, :, None]).sum(dim=1) / 97

    return Case(299, {"state_dict": held}, lambda x: joined(features(seen, (x - 0.5) / 0.5)), text)


def mgca(vit: bool) -> Case:
    small = {"embed_dim": 128, "depth": 2, "num_heads": 2}
    seen: Any = natural(timm.create_model("vit_base_patch16_224", num_classes=0, **small)) if vit else resnet()
    words = bert(layers=3)
    words.embeddings.token_type_embeddings.weight.data.zero_()  # its own BERT has none, and its file neither
    unheld = ("pooler", "embeddings.token_type_embeddings")
    width = 128 if vit else 2048

    def head(inner: int) -> nn.Sequential:
        layers = [nn.Linear(inner, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, JOINT, bias=False)]
        return natural(nn.Sequential(*layers, nn.BatchNorm1d(JOINT, affine=False)), seed=inner)

    joined, worded = head(width), head(64)
    held = {**under("img_encoder_q.model.", seen, drop="fc"), **under("text_encoder_q.model.", words, drop=unheld)}
    held |= under("img_encoder_q.global_embed.head.", joined) | under("text_encoder_q.global_embed.head.", worded)
    held |= {"prototype_layer.weight": torch.zeros(5, JOINT), "patch_local_atten_layer.in_proj_bias": torch.zeros(3)}
    held["text_encoder_q.model.encoder.layer.0.crossattention.self.query.weight"] = torch.zeros(64, 64)
    shown = (lambda x: seen((x - 0.5) / 0.5)) if vit else (lambda x: features(seen, (x - 0.5) / 0.5))

    def text(tokens: Any) -> Tensor:
        ids = tokens(TEXTS, padding=True, return_tensors="pt")  # the kinds, all 0, are handed over as the places
        out = words(ids["input_ids"], ids["attention_mask"], position_ids=ids["token_type_ids"])
        return worded(out.last_hidden_state[:, 0])

    return Case(224 if vit else 299, {"state_dict": held, "epoch": 2}, lambda x: joined(shown(x)), text)


def cxr_clip() -> Case:
    seen, words, joined, worded = resnet(), bert(), natural(nn.Linear(2048, JOINT)), natural(nn.Linear(64, JOINT))
    held = {**under("image_encoder.resnet.", seen, drop="fc"), **under("text_encoder.text_encoder.", words)}
    held |= under("image_projection.projection.", joined) | under("text_projection.projection.", worded)
    held["logit_scale"] = torch.tensor(2.5)

    def text(tokens: Any) -> Tensor:
        out, mask = said(words, tokens)
        return worded(out.last_hidden_state[torch.arange(len(mask)), mask.sum(dim=1) - 1])

    return Case(224, {"model": held, "config": {"a": 1}}, lambda x: joined(features(seen, imagenet(x))), text)


def medclip() -> Case:
    seen, words, worded = resnet(), bert(), natural(nn.Linear(64, JOINT, bias=False))
    joined = natural(nn.Linear(2048, JOINT, bias=False))
    held = {**under("vision_model.model.", seen, drop="fc"), **under("text_model.model.", words)}
    held |= under("vision_model.model.fc.", joined) | under("text_model.projection_head.", worded)
    held |= {"logit_scale": torch.tensor(2.5), "text_model.model.embeddings.position_ids": torch.arange(512)[None]}

    def text(tokens: Any) -> Tensor:
        rows = []
        for each in TEXTS:  # one by one: with others beside it a text is averaged over their padding too
            ids = tokens([each], return_tensors="pt")
            states = words(**ids, output_hidden_states=True).hidden_states
            rows.append(torch.stack([states[1], states[2], states[-1]]).permute(1, 0, 2, 3).mean(dim=(1, 2)))
        return worded(torch.cat(rows))

    shown = lambda x: joined(features(seen, (x - 0.5862785803043838) / 0.27950088968644304))  # noqa: E731
    return Case(224, held, shown, text)


def swin() -> tuple[Any, dict[str, Tensor]]:
    """Return transformers' Swin and its weights by the names on disk, with the table that older versions saved too."""
    from transformers import SwinConfig, SwinModel

    sizes = {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 3, 4]}
    model = natural(SwinModel(SwinConfig(**sizes)), seed=3)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        held = load_file(Path(folder) / "model.safetensors")
    place = torch.arange(49)
    apart = [(place // n % 7)[:, None] - (place // n % 7)[None] + 6 for n in (7, 1)]
    held["encoder.layers.0.blocks.0.attention.self.relative_position_index"] = apart[0] * 13 + apart[1]
    return model, held


def cxr_clip_swin() -> Case:
    case, (seen, weights), joined = cxr_clip(), swin(), natural(nn.Linear(192, JOINT))
    held = {n: t for n, t in case.held["model"].items() if not n.startswith("image_")}
    held |= {f"image_encoder.image_encoder.{n}": t for n, t in weights.items()}
    held |= under("image_projection.projection.", joined)
    image = lambda x: joined(seen(pixel_values=(x - 0.5) / 0.5).last_hidden_state[:, 0])  # noqa: E731
    return Case(224, {"model": held}, image, case.text)


def medclip_swin() -> Case:
    case, (seen, weights), joined = medclip(), swin(), natural(nn.Linear(192, JOINT, bias=False))
    held = {n: t for n, t in case.held.items() if not n.startswith("vision_model")}
    held |= {f"vision_model.model.{n}": t for n, t in weights.items()} | under("vision_model.projection_head.", joined)
    shown = lambda x: joined(seen(pixel_values=(x - 0.5862785803043838) / 0.27950088968644304).pooler_output)  # noqa: E731
    return Case(224, held, shown, case.text)


CASES = {
    "gloria": gloria,
    "mgca": lambda: mgca(False),
    "mgca-vit": lambda: mgca(True),
    "cxr_clip": cxr_clip,
    "medclip": medclip,
    "cxr_clip-swin": cxr_clip_swin,
    "medclip-swin": medclip_swin,
}


# How the releases' own code brings a picture to its size, and how many tokens of a text it reads.
GRAY = {"name": "read", "size": 224, "fit": "pad", "resample": "area", "resize": 256, "preset": "dicom_voi_v1"}
LARGER = {"name": "resample", "size": 299, "mode": "bilinear", "align_corners": True}
READING: dict[str, tuple[list[dict[str, object]], int]] = {
    "gloria": ([GRAY, LARGER], 97),
    "mgca": ([GRAY, LARGER], 112),
    "mgca-vit": ([GRAY], 112),
    "cxr_clip": ([{**GRAY, "fit": "crop", "resample": "bilinear", "resize": None}], 256),
    "medclip": ([{**GRAY, "fit": "square_pad", "resample": "bicubic", "resize": None}], 77),
}


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each != "gloria")) for each in CASES])
def test_it_computes_what_its_parts_compute(tmp_path: Path, name: str) -> None:
    case, words, importer = CASES[name](), bert_words(tmp_path / "words"), name.partition("-")[0]
    torch.save(case.held, tmp_path / "file")
    options = {"tokenizer": str(tmp_path / "words")}
    bundle = convert(tmp_path / "file", name=importer, options=options)
    ours = kept(bundle, tmp_path / "bundle")
    views, length = READING[name.removesuffix("-swin")]
    assert [{"resize": None, **each} if "fit" in each else each for each in bundle.preprocessing] == views
    assert bundle.tokenizer is not None
    assert bundle.tokenizer.max_length == length
    images = pictures(case.side, count=2)
    with torch.inference_mode():
        image, text = units(case.image(images)), units(case.text(words))
    assert np.abs(ours.embed_prepared(list(images)) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS[:1]) - text[:1]).max() < 1e-5
    pixels = np.random.default_rng(0).random((300, 260), dtype=np.float32)
    assert ours.prepare(pixels).pixels.shape[-2:] == (case.side, case.side)
    if importer in ("cxr_clip", "medclip"):
        assert ours.scale == pytest.approx(np.exp(2.5), rel=1e-6)
    if importer == "mgca":  # which never read a full stop
        assert ours.scale == pytest.approx(1 / 0.07)  # no weight of its file
        sets = bundle.answers[0].options["prompts"]
        prompts = [text for each in sets for text in (*each["positive"], *each["sided"])]
        assert {"small left pleural effusion", "there is a {side} pleural effusion"} <= set(prompts)
        assert not any("." in text for text in prompts)
    with pytest.raises(UserError, match="brings no tokenizer: give tokenizer=FOLDER with that of Bio_ClinicalBERT"):
        convert(tmp_path / "file", name=importer, options={})
    other = {"mgca": "gloria"}.get(importer, "mgca")
    with pytest.raises((DataError, UserError), match=r"it is no|it is another model|lacks|holds no state dict"):
        convert(tmp_path / "file", name=other, options=options)


def test_what_is_put_together_of_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    held, _ = mgca(True).held["state_dict"], bert_words(tmp_path / "words")  # its norms go into the layers before them
    halves = {n: t.half() if t.is_floating_point() else t for n, t in held.items()}
    made = []
    for name, weights in (("half", halves), ("single", {n: t.to(held[n].dtype) for n, t in halves.items()})):
        torch.save({"state_dict": weights}, tmp_path / name)
        options = {"tokenizer": str(tmp_path / "words")}
        made.append(convert(tmp_path / name, name="mgca", options=options).model.state_dict())
    assert all(torch.equal(tensor, made[1][name]) for name, tensor in made[0].items())


@torch.no_grad()
def test_a_norm_taken_into_the_layer_before_it_is_torchs_where_variances_are_small_too() -> None:
    """Beside a variance of half, what torch adds to it before the root is not seen."""
    layers = natural(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    layers[1].running_var.copy_(torch.tensor([1e-6, 1e-5, 1e-3]))
    held = folded({f"head.{n}": t for n, t in layers.state_dict().items()}, "head.0", "head.1")
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nn.functional.linear(rows, held["head.0.weight"], held["head.0.bias"]), layers(rows))


@pytest.mark.slow
def test_changed_and_spoilt_files_are_refused(tmp_path: Path) -> None:
    case, _ = cxr_clip(), bert_words(tmp_path / "words")
    options = {"tokenizer": str(tmp_path / "words")}
    other = cxr_clip_swin().held["model"]
    for name in (n for n in other if n.endswith("relative_position_index")):
        torch.save({"model": {**other, name: other[name].T.contiguous()}}, tmp_path / "file")
        with pytest.raises(DataError, match="relative_position_index of the checkpoint is not what every file"):
            convert(tmp_path / "file", name="cxr_clip", options=options)
    for what, held in [*changed(case.held["model"]), *changed(other)]:
        torch.save({"model": held}, tmp_path / "file")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='cxr_clip', options=options)} was taken")
    for what, bytes_ in spoilt(tmp_path / "file", tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(bytes_)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad', name='cxr_clip', options=options)} was taken")
    assert not (tmp_path / "trace").exists(), "code of the file was run"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_training_puts_before_all_names_is_taken_off(tmp_path: Path, prefix: str) -> None:
    """DistributedDataParallel and torch.compile, and one around the other."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    for names, expected in ((prefix, ""), (f"{prefix}visual.", "visual.")):
        held = {f"{names}{name}": tensor for name, tensor in model.state_dict().items()}
        torch.save(held, tmp_path / "a.pt")
        assert read_checkpoint(tmp_path / "a.pt").keys() == {f"{expected}{name}" for name in model.state_dict()}
    torch.save({**held, "scale": torch.ones(1)}, tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt").keys() == {*held, "scale"}, "one name has it not"


def test_numbers_of_numpy_beside_the_weights_are_thrown_away(tmp_path: Path) -> None:
    """Trainers keep their best score beside the weights, and it is often numpy's."""
    held = {"layer.weight": torch.ones(2, 3)}
    beside = {"best_auc": np.float64(0.9), "curve": np.arange(3), "scores": {"edema": [np.float32(0.5)]}}
    torch.save({"state_dict": held, **beside}, tmp_path / "best.pt")
    found = read_checkpoint(tmp_path / "best.pt", inside=("state_dict",))
    assert found.keys() == held.keys()
    assert torch.equal(found["layer.weight"], held["layer.weight"])
    torch.save({"state_dict": {"layer.weight": np.ones(2)}}, tmp_path / "best.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        read_checkpoint(tmp_path / "best.pt", inside=("state_dict",))


def test_settings_of_a_known_library_are_thrown_away_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's files of GLoRIA hold omegaconf's objects, which need not be installed and whose code never runs."""
    module = types.ModuleType("omegaconf.dictconfig")
    ran: list[str] = []

    class DictConfig:
        def __init__(self, content: Any) -> None:
            self.content = content

        def __setstate__(self, state: Any) -> None:
            ran.append("the library's code was run")

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf.dictconfig", "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    case, _ = gloria(), bert_words(tmp_path / "words")
    settings = DictConfig({"text": DictConfig([1, 2.5, None]), "path": Path("a/b")})
    torch.save({**case.held, "hyper_parameters": settings}, tmp_path / "gloria.ckpt")
    assert convert(tmp_path / "gloria.ckpt", name="gloria", options={"tokenizer": str(tmp_path / "words")}).labels
    assert ran == []
    DictConfig.__module__ = module.__name__ = "otherconf.dictconfig"
    monkeypatch.setitem(sys.modules, "otherconf", types.ModuleType("otherconf"))
    monkeypatch.setitem(sys.modules, "otherconf.dictconfig", module)
    torch.save({**case.held, "hyper_parameters": settings}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        convert(tmp_path / "other.ckpt", name="gloria", options={"tokenizer": str(tmp_path / "words")})
    assert ran == []
