"""The way out: what was written loads in the other library and computes the same; what is left behind is said."""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.cli.main import app
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.sample import Sample
from medvlp.models.backends.engines import openvino_core
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from medvlp.runs.data import build_views
from medvlp.text import train_wordpiece
from medvlp.zoo import convert
from medvlp.zoo._keys import fused
from medvlp.zoo.exports import export
from medvlp.zoo.exports._embedders import embedders, write_graphs
from medvlp.zoo.exports._export import not_held, turned_back
from tests.models.words import DUAL, VISION, HashWords, SpokenWords, dual
from tests.zoo.small import TEXTS, kept, natural, pictures, units
from tests.zoo.test_image_towers import dino_folder
from tests.zoo.test_transformers import SIDE, SIZES, clip_folder, siglip_folder, theirs


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a small CLIP."""
    clip_folder(tmp_path / "clip")
    save_bundle(tmp_path / "bundle", convert(tmp_path / "clip", name="transformers", options={}))
    return tmp_path / "bundle"


def test_clip_goes_back_to_transformers_and_says_what_stays(bundle: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    said = CliRunner().invoke(app, ["export", str(bundle), "--to", "transformers", "--out", str(tmp_path / "out")])
    assert said.exit_code == 0, said.output
    assert said.stderr == "", "no terminal, and no bar of another library"
    assert "It does not hold the preset from file to display values (dicom_voi_v1)." in said.output
    assert "It does not hold the answer zero_shot with its labels, recipe and prompts." in said.output
    ours = load(bundle)
    image, text = theirs(AutoModel.from_pretrained(tmp_path / "out").eval(), tmp_path / "out", padding=True)
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    # And back again: the same weights, bit for bit, and the same pixels.
    again = convert(tmp_path / "out", name="transformers", options={})
    first, second = load_bundle(bundle).model.state_dict(), again.model.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.preprocessing == load_bundle(bundle).preprocessing


@pytest.mark.parametrize("form", ["transformers", "onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(bundle: Path, tmp_path: Path, form: str) -> None:
    for library in {"openvino": ["openvino"], "onnx": ["onnx", "onnxruntime"]}.get(form, []):
        pytest.importorskip(library)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # no file may grow beyond: the kernel refuses the write
    try:
        with pytest.raises(UserError, match=r"^The disk is full: .*out could not be written"):
            export(load_bundle(bundle), to=form, out=tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "clip"]


def test_the_way_back_numbers_the_places_of_one_group_at_a_time() -> None:
    made = torch.Generator().manual_seed(0)
    layers = [{f"{i}.{part}_proj.w": torch.randn(5, 4, generator=made) for part in "kqv"} for i in range(9)]
    theirs = {name: tensor for each in layers for name, tensor in each.items()} | {"scale": torch.tensor(2.0)}
    held = []

    def there(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        stored = {each.data_ptr(): each.nbytes() for each in map(torch.Tensor.untyped_storage, weights.values())}
        held.append(sum(stored.values()))
        return fused(weights, r"(\d+)\.{q,k,v}_proj\.(.*)", r"\1.qkv.\2")

    ours = there(theirs)
    del held[:]
    like = {name: torch.empty(tensor.shape, device="meta") for name, tensor in theirs.items()}
    back = turned_back(ours, like, there)
    assert list(back) == list(theirs)
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
    assert max(held) <= sum(tensor.nbytes for tensor in layers[0].values())


@pytest.mark.slow
def test_a_tower_that_cannot_be_traced_is_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    """Longformer cuts a text into windows, as many as its length asks for."""
    for library in ("onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra serve)")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {"name": "transformers", "config": {"model_type": "longformer", **sizes, "attention_window": [8]}}
    model = dual({**DUAL, "text": text})
    with pytest.raises(UserError, match=r"^The form has no graph for this tower \(.*\): leave the model of this text"):
        export(Bundle(model, None, preprocessing=[]), to="onnx", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_gives_other_embeddings_than_torch_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"otherwise than torch, 0\.01 apart: leave the model in its bundle"):
        write_graphs(load_bundle(bundle), tmp_path, lambda each: lambda given: each.module(*given) + 0.01)
    with pytest.raises(UserError, match="otherwise than torch, nan apart"):
        write_graphs(load_bundle(bundle), tmp_path, lambda each: lambda given: each.module(*given) * torch.nan)
    assert not (tmp_path / "embedding.json").exists()


def with_words(bundle: Path, words: Any, **text: Any) -> Bundle:
    """The small CLIP with another tokenizer, and what `text` says of its text tower."""
    made = load_bundle(bundle)
    spec: dict[str, Any] = dict(made.model.spec)  # type: ignore[attr-defined]
    tower = {**spec["text"], "config": {"model_type": "clip_text_model", **SIZES}, **text}
    model = natural(build_model({**spec, "text": tower}, tokenizer=words))
    return replace(made, model=model, tokenizer=words, hash="")


def test_two_commands_that_export_into_one_folder_leave_a_whole_one(bundle: Path, tmp_path: Path) -> None:
    first, second, out = load_bundle(bundle), load_bundle(bundle), tmp_path / "out"
    assert first.tokenizer is not None
    save, ended = first.tokenizer.save, []

    def meanwhile(folder: Path) -> None:
        given = {"to": "transformers", "out": out}
        other = multiprocessing.get_context("fork").Process(target=export, args=(second,), kwargs=given)
        other.start()
        other.join()
        ended.append(other.exitcode)
        save(folder)

    first.tokenizer.save = meanwhile
    export(replace(first, card="# First"), to="transformers", out=out)
    assert ended == [0]
    assert (out / "README.md").read_text() == "# First"
    assert (out / "model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"clip", "bundle", "out"}


def test_texts_of_another_tokenizer_end_where_transformers_and_open_clip_pool(bundle: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    words = train_wordpiece(TEXTS * 3, vocab_size=96, max_length=24)
    ours = kept(with_words(bundle, words), tmp_path / "words")
    ids = words(TEXTS)
    expected = ours.embed_text(TEXTS)
    assert min(np.abs(expected[i] - expected[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2
    export(ours.bundle, to="transformers", out=tmp_path / "hf")
    with torch.inference_mode():
        model = CLIPModel.from_pretrained(tmp_path / "hf").eval()
        found = model.get_text_features(input_ids=ids.ids, attention_mask=ids.mask.long()).pooler_output
    assert np.abs(units(found) - expected).max() < 1e-5
    assert model.config.text_config.bos_token_id == words.start_id
    long = [*TEXTS, "effusion " * 30]
    same = AutoTokenizer.from_pretrained(tmp_path / "hf")(long, padding=True, truncation=True, return_tensors="pt")
    assert torch.equal(same["input_ids"], words(long).ids), "24, which both lengthen to"
    assert torch.equal(same["attention_mask"].bool(), words(long).mask)
    export(ours.bundle, to="open_clip", out=tmp_path / "oc")
    settings = json.loads((tmp_path / "oc" / "open_clip_config.json").read_text())["model_cfg"]
    assert (settings["text_cfg"]["pool_type"], settings["text_cfg"]["eos_id"]) == ("eos", words.stop_id)
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed (extra bench)")
    other, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'oc'}")
    tokens = torch.nn.functional.pad(ids.ids, (0, settings["text_cfg"]["context_length"] - ids.ids.shape[1]))
    with torch.inference_mode():
        assert np.abs(units(other.eval().encode_text(tokens)) - expected).max() < 1e-5


@pytest.mark.parametrize("form", ["transformers", "open_clip"])
def test_texts_that_are_pooled_otherwise_go_to_neither(bundle: Path, tmp_path: Path, form: str) -> None:
    words = train_wordpiece(TEXTS * 3, vocab_size=96, max_length=24)
    for changes, said in (
        ({"pool": "mean"}, "pool: mean"),
        ({"states": [-1, -2]}, r"states: \[-1, -2\]"),
        (
            {"fill": True, "config": {"model_type": "clip_text_model", **SIZES, "max_position_embeddings": 24}},
            "fill: true",
        ),
    ):
        with pytest.raises(
            UserError, match=rf"{form}'s? form has no place for a text tower with {said}: it makes .* last"
        ):
            export(with_words(bundle, words, **changes), to=form, out=tmp_path / "out")
    with pytest.raises(UserError, match="finds the end of a text by a token that stands there alone"):
        export(with_words(bundle, HashWords()), to=form, out=tmp_path / "out")


def test_towers_that_open_clip_makes_otherwise_do_not_go_there(bundle: Path, tmp_path: Path) -> None:
    words = train_wordpiece(TEXTS * 3, vocab_size=96, max_length=24)
    text = {"config": {"model_type": "clip_text_model", **SIZES, "layer_norm_eps": 1e-3}}
    with pytest.raises(UserError, match=r"norms with the epsilon 1e-05, and the text tower with 0\.001: such"):
        export(with_words(bundle, words, **text), to="open_clip", out=tmp_path / "out")
    # One that was trained here says less of itself than the importers do.
    made = with_words(bundle, words)
    spec: dict[str, Any] = dict(made.model.spec)  # type: ignore[attr-defined]
    small = {"embed_dim": 64, "depth": 1, "num_heads": 2}
    tower = {"name": "timm", "architecture": spec["vision"]["architecture"], "image_size": 32, "channels": 3}
    own = build_model({**spec, "vision": {**tower, "options": small}}, tokenizer=words)
    for form in ("transformers", "open_clip"):
        with pytest.raises(UserError, match=rf"^{form}'s? form has no place for .* as the importers of"):
            export(replace(made, model=own), to=form, out=tmp_path / "out")


class ReadWords(SpokenWords):
    """Texts end with the id 2."""

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(str(number) for number in ids)


def test_transformers_takes_no_texts_that_end_with_the_id_2(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no place for a tokenizer that ends texts with the id 2"):
        export(with_words(bundle, ReadWords()), to="transformers", out=tmp_path / "out")


@pytest.mark.parametrize("form", ["transformers", "open_clip"])
@pytest.mark.parametrize("view", [{"fit": "squeeze", "resize": 40}, {"fit": "crop", "resize": 40}, {"bits": 16}])
def test_pixels_that_the_form_would_make_otherwise_are_left_to_the_reader(
    bundle: Path, tmp_path: Path, form: str, view: dict[str, object]
) -> None:
    made = load_bundle(bundle)
    made = replace(made, preprocessing=[{**made.preprocessing[0], **view}])
    behind = export(made, to=form, out=tmp_path / "out")
    assert any(each.startswith("how a picture is brought to its size") for each in behind)
    assert not (tmp_path / "out" / "preprocessor_config.json").exists()
    if form == "open_clip":
        told = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["preprocess_cfg"]
        assert told.keys() == {"mean", "std"}


def test_siglip_goes_back_to_transformers(tmp_path: Path) -> None:
    from transformers import AutoModel

    siglip_folder(tmp_path / "siglip")
    made = convert(tmp_path / "siglip", name="transformers", options={})
    ours = kept(made, tmp_path / "bundle")
    export(load_bundle(tmp_path / "bundle"), to="transformers", out=tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    image, text = theirs(model, tmp_path / "out", padding="max_length", max_length=16)
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    assert model.logit_bias.item() == pytest.approx(-3.0)


def test_dinov2_goes_back_to_transformers_and_to_timm(tmp_path: Path) -> None:
    import timm
    from transformers import AutoModel

    dino_folder(tmp_path / "dino")
    ours = kept(convert(tmp_path / "dino", name="dinov2", options={}), tmp_path / "bundle")
    images = pictures(56)
    expected = ours.embed_prepared(list(images))
    export(ours.bundle, to="transformers", out=tmp_path / "hf")
    export(ours.bundle, to="timm", out=tmp_path / "timm")
    shown = (images - 0.5307) / 0.2583
    with torch.inference_mode():
        hf = AutoModel.from_pretrained(tmp_path / "hf").eval()(pixel_values=shown).pooler_output
        model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
        assert np.abs(units(hf) - expected).max() < 1e-5
        assert np.abs(units(model(shown)) - expected).max() < 1e-5
    assert list(model.pretrained_cfg["mean"]) == [0.5307] * 3


def test_clip_goes_to_open_clip(bundle: Path, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed (extra bench)")
    behind = export(load_bundle(bundle), to="open_clip", out=tmp_path / "out")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    ours = load(bundle)
    words = ours.bundle.tokenizer
    assert words is not None
    ids = words(TEXTS)
    # open_clip pools at the largest id, of which the end of a text is one: what stands behind it must be smaller.
    tokens = torch.where(ids.mask, ids.ids, torch.zeros_like(ids.ids))
    tokens = torch.nn.functional.pad(tokens, (0, 77 - tokens.shape[1]))
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.inference_mode():
        image = units(model.eval().encode_image((pictures(SIDE) - mean) / std))
        text = units(model.encode_text(tokens))
        own = units(model.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS)))
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    assert np.abs(own - text).max() < 1e-5, "its tokenizer is the folder's, not CLIP's of 49,408 pieces"
    assert transform is not None
    assert any(each.startswith("how a picture is brought to its size") for each in behind), "its cut rounds otherwise"


def test_a_width_that_a_ratio_misses_by_one_goes_to_open_clip(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed (extra bench)")
    assert int(44 * (98 / 44)) == 97
    odd = {"hidden_size": 44, "intermediate_size": 98}
    clip_folder(tmp_path / "clip", **odd)
    ours = kept(convert(tmp_path / "clip", name="transformers", options={}), tmp_path / "bundle")
    export(ours.bundle, to="open_clip", out=tmp_path / "out")
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.inference_mode():
        image = units(model.eval().encode_image((pictures(SIDE) - mean) / std))
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5


def monai_network(folder: Path) -> Any:
    """Return the network of a MONAI Bundle with its weights, read by MONAI as weights alone, and its configuration."""
    from monai.bundle import ConfigParser, verify_net_in_out

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.read_meta(folder / "configs" / "metadata.json")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    files = {"meta_file": str(folder / "configs" / "metadata.json")}
    files["config_file"] = str(folder / "configs" / "inference.json")
    verify_net_in_out(net_id="network_def", device="cpu", n=2, **files)  # as many channels as its metadata says
    return network, parser


@pytest.mark.slow
def test_clip_and_a_classifier_go_to_monai_with_all_between_pixels_and_findings(bundle: Path, tmp_path: Path) -> None:
    import torchvision

    behind = export(load_bundle(bundle), to="monai", out=tmp_path / "clip")
    assert behind[0] == "the text tower"
    network, parser = monai_network(tmp_path / "clip")
    images, ours = pictures(SIDE), load(bundle)
    shown = parser.get_parsed_content("preprocessing").transforms[-1]
    with torch.inference_mode():
        found = units(
            network(torch.stack([torch.as_tensor(shown({"image": each.clone()})["image"]) for each in images]))
        )
    assert np.abs(found - ours.embed_prepared(list(images))).max() < 1e-5
    # A classifier: its last layer is there, and the labels; from files of display values to probabilities in MONAI.
    torch.save(natural(torchvision.models.resnet18(num_classes=2)).state_dict(), tmp_path / "resnet.pth")
    options = {"architecture": "resnet18", "image_size": 64, "labels": ["effusion", "edema"]}
    ours = kept(convert(tmp_path / "resnet.pth", name="timm", options=options), tmp_path / "findings")
    behind = export(ours.bundle, to="monai", out=tmp_path / "monai")
    assert not [each for each in behind if "answer" in each or "heads" in each]
    meta = json.loads((tmp_path / "monai" / "configs" / "metadata.json").read_text())
    assert meta["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "effusion", "1": "edema"}
    monai_network(tmp_path / "monai")
    (tmp_path / "monai" / "data").mkdir()
    picture = np.random.default_rng(0).random((64, 80), dtype=np.float32)
    np.save(tmp_path / "monai" / "data" / "a.npy", ours.prepare(picture).pixels.numpy())
    _, parser = monai_network(tmp_path / "monai")
    parser["bundle_root"] = str(tmp_path / "monai")
    sample = parser.get_parsed_content("dataset")[0]
    network = monai_network(tmp_path / "monai")[0]
    with torch.inference_mode():
        pred = parser.get_parsed_content("inferer")(torch.as_tensor(sample["image"])[None], network)
    for shares in ({}, {"exclusive": True}, {"ordered": True}):  # each by itself, one of all, steps of a grade
        (answer,) = ours.bundle.answers
        other = replace(ours.bundle, answers=(replace(answer, options={**answer.options, **shares}),))
        folder = tmp_path / "-".join(["shares", *shares])
        export(other, to="monai", out=folder)
        said = monai_network(folder)[1].get_parsed_content("postprocessing")({"pred": pred[0]})["pred"]
        scores = VisionLanguageModel(other).ask("findings", picture).scores
        assert scores is not None
        assert np.abs(said.numpy() - [scores[name][0] for name in options["labels"]]).max() < 1e-5


@pytest.mark.parametrize("architecture", ["segresnet", "unet"])
def test_a_tower_of_volumes_goes_to_monai(tmp_path: Path, architecture: str) -> None:
    tower = {"name": "monai", "architecture": architecture, "kind": "volume", "width": 8}
    model = natural(build_model({"name": "vision", "vision": tower}, tokenizer=None))
    own = Bundle(model, None, preprocessing=[])
    export(own, to="monai", out=tmp_path / "out")
    network, parser = monai_network(tmp_path / "out")
    volume = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = parser.get_parsed_content("preprocessing").transforms[-1]({"image": volume[0].clone()})["image"]
    with torch.inference_mode():
        expected = model.towers["volume"](volume, parts=frozenset({"pooled"})).pooled
        found = network(torch.as_tensor(shown)[None])
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    if architecture == "unet":
        slices = {"name": "slices", "slice": {"name": "timm", "architecture": "resnet10t", "image_size": 32}}
        other = build_model({"name": "vision", "vision": slices}, tokenizer=None)
        with pytest.raises(
            UserError, match=r"MONAI's form has no place for this image tower \(slices, patches or surgery"
        ):
            export(Bundle(other, None, preprocessing=[]), to="monai", out=tmp_path / "slices")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"provenance": {"licence": "$__import__('os').getcwd()"}}, r"\$__import__"),
        ({"answers": (StoredAnswer("findings", "findings", labels=("edema", "%/etc/hosts::a")),)}, "%/etc/hosts"),
    ],
)
def test_words_that_monai_would_run_or_look_up_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    given = Bundle(dual(DUAL), None, preprocessing=[], **changed)
    with pytest.raises(UserError, match=rf"^MONAI would run .{words}.*, which this bundle names, as code: rename it"):
        export(given, to="monai", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "projection",
    [{"hidden": 12, "norm": "layer"}, {"standardise": True, "stage": "batch"}, {"hidden": 12, "norm": "batch"}],
    ids=["layer", "standardise", "batch"],
)
def test_a_projection_that_norms_has_no_place_in_monai(tmp_path: Path, projection: dict[str, Any]) -> None:
    model = dual({**DUAL, "vision": {**VISION, "norm": "keep"}, "projection": {"stage": "batch", **projection}})
    with pytest.raises(
        UserError, match=r"^MONAI's form has no place for this model's projection: its layers are not plain; use onnx"
    ):
        export(Bundle(model, None, preprocessing=[]), to="monai", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("form", "needs"), [("onnx", "onnxscript"), ("openvino", "openvino")])
def test_a_model_of_volumes_alone_has_no_place_in_a_graph(tmp_path: Path, form: str, needs: str) -> None:
    pytest.importorskip(needs, reason=f"{needs} is not installed (extra serve)")
    model = build_model({**DUAL, "vision": {"name": "slices", "slice": VISION}}, tokenizer=HashWords())
    with pytest.raises(UserError, match=r"^The form holds a plain model of images: one of volumes, or with patches,"):
        export(Bundle(model, None, preprocessing=[]), to=form, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_head_that_reads_a_head_has_no_place_in_a_graph() -> None:
    heads = {"image/local": {"name": "projection", "reads": "tokens", "width": 8}}
    heads["image/raw"] = {"name": "identity", "reads": "local", "mean": True}
    with pytest.raises(UserError, match=r"head image/raw of this model reads another, image/local: it cannot be expor"):
        next(embedders(Bundle(dual(heads=heads), None, preprocessing=[])))


def test_a_mixture_of_towers_has_the_size_of_pictures_that_a_graph_is_made_for() -> None:
    spec = {**DUAL, "vision": {"name": "mof", "first": VISION, "second": VISION}}
    assert next(embedders(Bundle(dual(spec), None, preprocessing=[]))).inputs[0].shape == (2, 1, 32, 32)


def test_a_graph_is_compared_on_the_same_pictures_and_words_each_time() -> None:
    bundle = Bundle(dual(DUAL), None, preprocessing=[])
    one, other = ([tensor for each in embedders(bundle) for tensor in each.inputs] for _ in range(2))
    assert len(one) == 3
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_that_a_tower_of_volumes_stays_behind_is_said() -> None:
    model = build_model({**DUAL, "stack": {"name": "slices", "slice": VISION}}, tokenizer=HashWords())
    assert "the tower of stacks" in not_held(Bundle(model, None, preprocessing=[]))
    assert "the tower of stacks" not in not_held(Bundle(dual(DUAL), None, preprocessing=[]))


def test_what_is_done_to_pictures_is_listed_without_what_is_done_to_texts() -> None:
    views = [{"name": "read", "size": 32, "resize": None}, {"name": "sections", "field": "text"}]
    lost = not_held(Bundle(dual(DUAL), None, preprocessing=views))
    assert "how a picture is brought to its size: read (size 32)" in lost


@pytest.mark.slow
def test_onnx_takes_any_number_of_pictures_and_texts(bundle: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra bench)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra bench)")
    export(load_bundle(bundle), to="onnx", out=tmp_path / "out")
    ours = load(bundle)
    words = ours.bundle.tokenizer
    assert words is not None
    for count in (1, 3):
        session = runtime.InferenceSession(str(tmp_path / "out" / "image.onnx"))
        found = session.run(None, {"pixels": pictures(SIDE)[:count].numpy()})[0]
        assert np.abs(found - ours.embed_prepared(list(pictures(SIDE)[:count]))).max() < 1e-5
        session = runtime.InferenceSession(str(tmp_path / "out" / "text.onnx"))
        tokens = words(TEXTS[:count])
        found = session.run(None, {"ids": tokens.ids.numpy(), "mask": tokens.mask.numpy()})[0]
        assert np.abs(found - ours.embed_text(TEXTS[:count])).max() < 1e-5


@pytest.mark.slow
def test_a_graph_of_siglip_brings_scale_and_bias_of_its_logits(tmp_path: Path) -> None:
    for needed in ("onnxruntime", "onnxscript"):
        pytest.importorskip(needed, reason=f"{needed} is not installed (extra bench)")
    siglip_folder(tmp_path / "siglip")
    export(convert(tmp_path / "siglip", name="transformers", options={}), to="onnx", out=tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "embedding.json").read_text())
    assert (facts["scale"], facts["bias"]) == (pytest.approx(np.exp(2.0)), pytest.approx(-3.0))


@pytest.mark.slow
def test_openvino_takes_any_number_of_pictures_and_texts(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra serve)")
    export(load_bundle(bundle), to="openvino", out=tmp_path / "out")
    ours = load(bundle)
    words = ours.bundle.tokenizer
    assert words is not None
    facts = json.loads((tmp_path / "out" / "embedding.json").read_text())
    assert max(facts["image_parity"], facts["text_parity"]) < 1e-5
    assert "bias" not in facts
    graphs = {
        name: openvino_core().compile_model(
            tmp_path / "out" / f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        for name in ("image", "text")
    }
    for count in (1, 3):
        found = graphs["image"]({"pixels": pictures(SIDE)[:count].numpy()})["unit_embedding"]
        assert np.abs(found - ours.embed_prepared(list(pictures(SIDE)[:count]))).max() < 1e-5
        tokens = words(TEXTS[:count])
        found = graphs["text"]({"ids": tokens.ids.numpy(), "mask": tokens.mask.numpy()})["unit_embedding"]
        assert np.abs(found - ours.embed_text(TEXTS[:count])).max() < 1e-5


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"act_layer": "gelu"}, "channels": 1},
        {"options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}, "pool": "avgmax"},
    ],
    ids=["gray, another activation", "narrow, another pooling"],
)
def test_a_tower_comes_back_from_timm_as_it_was_made(tmp_path: Path, more: dict[str, Any]) -> None:
    """What has no weights is in the folder's ``model_args``."""
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 64, "channels": 3, **more}
    model = natural(build_model({"name": "vision", "vision": tower}, tokenizer=None))
    export(Bundle(model, None, preprocessing=[]), to="timm", out=tmp_path / "timm")
    again = convert(tmp_path / "timm", name="timm", options={}).model
    images = pictures(64, channels=tower["channels"])
    with torch.inference_mode():
        one, other = (
            each.towers["image"](images, parts=frozenset({"pooled"})).pooled for each in (model, again.eval())
        )
    assert torch.allclose(other, one, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize(
    ("view", "pixels"),
    [
        ({"fit": "crop", "resize": 73, "resample": "bilinear"}, True),
        ({"fit": "crop", "resample": "lanczos"}, True),
        ({"fit": "squeeze", "resample": "bicubic"}, True),
        ({"fit": "squeeze", "resample": "bicubic", "resize": 73}, False),
        ({"fit": "pad", "resample": "area"}, False),
    ],
)
def test_timm_makes_the_pixels_of_a_tower_where_it_can(tmp_path: Path, view: dict[str, Any], pixels: bool) -> None:
    import timm
    from PIL import Image

    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 64, "channels": 3, "mean": [0.5], "std": [0.5]}
    read = {"name": "read", "preset": "dicom_voi_v1", "size": 64, **view}
    own = Bundle(build_model({"name": "vision", "vision": tower}, tokenizer=None), None, preprocessing=[read])
    behind = export(own, to="timm", out=tmp_path / "out")
    assert any(each.startswith("how a picture is brought to its size") for each in behind) != pixels
    if pixels:
        model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        levels = np.random.default_rng(0).integers(0, 256, (97, 161), dtype=np.uint8)
        theirs = transform(Image.fromarray(levels).convert("RGB"))[:1] * 0.5 + 0.5
        ours = build_views([read], where="preprocessing")[0](
            Sample("a", {"image": levels.astype(np.float32) / 255}), torch.Generator()
        )
        assert torch.equal((ours.fields["image"] * 255).round(), (theirs * 255).round())
        again = convert(tmp_path / "out", name="timm", options={}).preprocessing[0]
        assert again == {"resize": 64, **read}


def test_a_gray_convolutional_tower_goes_to_timm_and_nowhere_else(tmp_path: Path) -> None:
    import timm

    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 64, "channels": 1}
    spec = {"name": "dual", "vision": tower, "text": {"name": "transformer", "width": 32, "layers": 1}, "embed_dim": 16}
    model = natural(build_model(spec, tokenizer=words))
    own = Bundle(model, words, preprocessing=[{"name": "read", "size": 64, "preset": "dicom_voi_v1"}])
    behind = export(own, to="timm", out=tmp_path / "out")
    assert behind[0] == "the text tower and the projections"
    images = pictures(64, channels=1)
    with torch.inference_mode():
        expected = model.towers["image"](images, parts=frozenset({"pooled"})).pooled
        found = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()((images - 0.5) / 0.25)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    for form in ("transformers", "open_clip"):
        with pytest.raises(UserError, match=rf"{form}'s? form has no place for .*resnet10t"):
            export(own, to=form, out=tmp_path / form)
        assert not (tmp_path / form).exists()
    changed = natural(build_model({**spec, "vision": {**tower, "norm": "group"}}, tokenizer=words))
    with pytest.raises(UserError, match=r"has no place for this image tower \(norm\): only a plain tower of timm"):
        export(Bundle(changed, words, preprocessing=[]), to="timm", out=tmp_path / "group")
    with pytest.raises(ConfigError, match="tensorflow"):
        export(own, to="tensorflow", out=tmp_path / "tensorflow")
