"""CLIP and SigLIP of transformers: what transformers computes from a folder, the bundle computes."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Resampling

from medvlp.core.errors import DataError, UserError
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.zoo import convert
from medvlp.zoo.exports import export
from tests.zoo.small import TEXTS, changed, clip_words, kept, natural, pictures, read, spoilt, units, write

SIZES = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 3, "num_attention_heads": 4}
SIDE = 32
READ = {"name": "read", "size": 32, "fit": "crop_floor", "resize": 32, "resample": "bicubic", "bits": 8, "preset": ""}


def clip_folder(folder: Path, **vision: object) -> torch.nn.Module:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    words = clip_words()
    ends = {"eos_token_id": len(words) - 1, "bos_token_id": len(words) - 2, "pad_token_id": len(words) - 1}
    text = {**SIZES, "vocab_size": len(words), "max_position_embeddings": 77, **ends}
    seen = {**SIZES, "image_size": SIDE, "patch_size": 8, **vision}
    model = natural(CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=48)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(folder)
    return model


def siglip_folder(folder: Path) -> torch.nn.Module:
    sentencepiece = pytest.importorskip("sentencepiece", reason="SigLIP's tokenizer needs sentencepiece")
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipTokenizer

    folder.mkdir(parents=True)
    prefix = str(folder / "spiece")
    ids = {"bos_id": -1, "eos_id": 1, "pad_id": 0, "unk_id": 2}
    lines = [t.replace(",", "") for t in TEXTS] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=prefix, vocab_size=28, minloglevel=2, **ids
    )
    words = SiglipTokenizer(f"{prefix}.model", model_max_length=16)
    ends = {"eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 1}
    text = {**SIZES, "vocab_size": len(words), "max_position_embeddings": 16, **ends}
    seen = {**SIZES, "image_size": SIDE, "patch_size": 8}
    model = natural(SiglipModel(SiglipConfig(text_config=text, vision_config=seen)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return model


def theirs(model: torch.nn.Module, folder: Path, **padding: object) -> tuple[np.ndarray, np.ndarray]:
    from transformers import AutoImageProcessor, AutoTokenizer

    processor = AutoImageProcessor.from_pretrained(folder)
    mean, std = (torch.tensor(list(v)).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std))
    words = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        image = model.get_image_features(pixel_values=(pictures(SIDE) - mean) / std).pooler_output
        ids = words(TEXTS, return_tensors="pt", truncation=True, **padding)
        text = model.get_text_features(input_ids=ids["input_ids"]).pooler_output
    return units(image), units(text)


def test_clip_computes_what_transformers_computes(tmp_path: Path) -> None:
    model = clip_folder(tmp_path / "clip")
    bundle = convert(tmp_path / "clip", name="transformers", options={"release": "pubmedclip"})
    ours = kept(bundle, tmp_path / "bundle")
    image, text = theirs(model, tmp_path / "clip", padding=True)
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS[:1]) - text[:1]).max() < 1e-5, "a longer neighbour changes nothing"
    assert np.abs(image[0] - image[1]).max() > 1e-2
    assert ours.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert bundle.provenance["licence"] == "MIT"
    assert "license: mit" in bundle.card
    assert bundle.preprocessing[0] | {"preset": ""} == READ


def test_the_activation_is_that_of_the_configuration(tmp_path: Path) -> None:
    """Quick GELU and GELU share names and shapes: only values tell them apart."""
    model = clip_folder(tmp_path / "gelu", hidden_act="gelu")
    ours = kept(convert(tmp_path / "gelu", name="transformers", options={}), tmp_path / "bundle")
    image, _ = theirs(model, tmp_path / "gelu", padding=True)
    found = ours.embed_prepared(list(pictures(SIDE)))
    assert np.abs(found - image).max() < 1e-5
    model.vision_model.config.hidden_act = "quick_gelu"
    other = type(model)(model.config).eval()
    other.load_state_dict(model.state_dict())
    assert np.abs(found - theirs(other, tmp_path / "gelu", padding=True)[0]).max() > 1e-3


def test_siglip_computes_what_transformers_computes(tmp_path: Path) -> None:
    model = siglip_folder(tmp_path / "siglip")
    bundle = convert(tmp_path / "siglip", name="transformers", options={"release": "medsiglip"})
    ours = kept(bundle, tmp_path / "bundle")
    image, text = theirs(model, tmp_path / "siglip", padding="max_length", max_length=16)
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS[:1]) - text[:1]).max() < 1e-5, "texts are padded alike whatever stands beside"
    # It is asked by the release's own recipe: sigmoid of the learnt scale and bias.
    scores = ours.ask("zero_shot", np.full((40, 40), 0.3)).scores
    prompts = ours.answers["zero_shot"].prompts
    vectors = ours.embed_text(list(prompts[0].positive)).mean(axis=0)
    cosine = ours.embed_image(np.full((40, 40), 0.3)) @ (vectors / np.linalg.norm(vectors))
    logit = model.logit_scale.exp().item() * cosine + model.logit_bias.item()
    assert scores[prompts[0].label] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    assert "Health AI Developer Foundations" in bundle.card


def test_of_ids_that_siglip_never_reads_nothing_is_said(tmp_path: Path) -> None:
    """Its folders name no first and last id, and those that transformers puts there lie beyond its vocabulary."""
    from transformers.utils.logging import warning_once

    siglip_folder(tmp_path / "siglip")
    settings = json.loads((tmp_path / "siglip" / "config.json").read_text())
    for name in ("bos_token_id", "eos_token_id"):
        del settings["text_config"][name]
    (tmp_path / "siglip" / "config.json").write_text(json.dumps(settings))
    said: list[str] = []
    logger, handler = logging.getLogger("transformers"), logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    warning_once.cache_clear()
    try:
        save_bundle(tmp_path / "bundle", convert(tmp_path / "siglip", name="transformers", options={}))
        warning_once.cache_clear()  # of the same words nothing is said twice in a process
        load_bundle(tmp_path / "bundle")
    finally:
        logger.removeHandler(handler)
    assert said == []


def test_siglip_2_reads_small_letters_whatever_tokenizer_its_folder_names(tmp_path: Path) -> None:
    """Its releases name Gemma's tokenizer, which leaves capitals, and it was trained on texts without any."""
    from transformers import GemmaTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel

    folder, letters = tmp_path / "siglip2", [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *letters]
    marks = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    words = GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], **marks)
    ends = {"eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 0}
    text = {**SIZES, "vocab_size": len(words), "max_position_embeddings": 64, **ends}
    seen = {**SIZES, "image_size": SIDE, "patch_size": 8}
    model = natural(SiglipModel(SiglipConfig(text_config=text, vision_config=seen)))
    for part in (model, words, SiglipImageProcessor(size={"height": SIDE, "width": SIDE})):
        part.save_pretrained(folder)
    ours = kept(convert(folder, name="transformers", options={"release": "siglip"}), tmp_path / "bundle")
    _, small = theirs(model, folder, padding="max_length", max_length=64)
    for written in (TEXTS, [each.upper() for each in TEXTS]):
        assert np.abs(ours.embed_text(written) - small).max() < 1e-5


def test_buffers_of_older_versions_are_known_and_nothing_else_is_left_over(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    file = tmp_path / "clip" / "model.safetensors"
    weights = read(file)
    numbered = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    write(file, {**weights, **numbered})
    made = convert(tmp_path / "clip", name="transformers", options={})
    assert made.provenance["left_out"] == ["text_model.embeddings.position_ids"]
    write(file, {**weights, "text_model.embeddings.position_ids": torch.arange(77).flip(0)[None]})
    with pytest.raises(DataError, match="is not what every file of its kind holds there"):
        convert(tmp_path / "clip", name="transformers", options={})
    for what, held in changed(weights):
        write(file, held)
        with pytest.raises(DataError, match=r"The weights of .* do not fit: \d+ (are|differ)"):
            pytest.fail(f"{what}: {convert(tmp_path / 'clip', name='transformers', options={})} was taken")


def test_weights_alone_are_read_with_the_folder_of_their_architecture(tmp_path: Path) -> None:
    model = clip_folder(tmp_path / "clip")
    torch.save(read(tmp_path / "clip" / "model.safetensors"), tmp_path / "RadCLIP.pth")
    options = {"folder": str(tmp_path / "clip"), "release": "radclip"}
    ours = kept(convert(tmp_path / "RadCLIP.pth", name="transformers", options=options), tmp_path / "bundle")
    assert (
        np.abs(ours.embed_prepared(list(pictures(SIDE))) - theirs(model, tmp_path / "clip", padding=True)[0]).max()
        < 1e-5
    )
    for what, bytes_ in spoilt(tmp_path / "RadCLIP.pth", tmp_path / "trace"):
        (tmp_path / "bad.pth").write_bytes(bytes_)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad.pth', name='transformers', options=options)} was taken")
    assert not (tmp_path / "trace").exists(), "code of the file was run"


def test_what_is_no_folder_or_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is no folder: give the folder with config\.json and the weights, or a hub name"
    ):
        convert(tmp_path / "nothing" / "here" / "at all", name="transformers", options={})
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no config\.json"):
        convert(tmp_path / "bert", name="transformers", options={})
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match=r"holds a model of type 'bert', and this importer reads 'clip' and 'siglip'"):
        convert(tmp_path / "bert", name="transformers", options={})


def test_a_release_of_the_other_family_does_not_stand_on_the_card(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    with pytest.raises(DataError, match=r"holds a model of type 'clip', unlike MedSigLIP: leave release out"):
        convert(tmp_path / "clip", name="transformers", options={"release": "medsiglip"})


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))


REFUSED = {
    "rescale": ({"rescale_factor": 1 / 127.5}, "multiplies pixels of 0 to 255 by 0.00784314: only 1/255 is known"),
    "wide cut": ({"crop_size": {"height": 32, "width": 28}}, "cuts {'height': 32, 'width': 28} out of it: squeezed to"),
    "no cut": ({"do_center_crop": False}, "brings a picture to {'shortest_edge': 32}: squeezed to a square"),
    "longest": ({"size": {"longest_edge": 32}}, "brings a picture to {'longest_edge': 32} and cuts"),
    "both": ({"size": {"shortest_edge": 32, "longest_edge": 40}}, "brings a picture to {'shortest_edge': 32, 'longest"),
    "another's defaults": (
        {"image_processor_type": "SiglipImageProcessor", "image_std": ...},
        "does not say image_std",
    ),
    "no number": ({"image_mean": 0.5}, "does not say what a processor of pictures needs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_pixels_that_no_view_makes_are_refused(tmp_path: Path, case: str) -> None:
    changes, said = REFUSED[case]
    clip_folder(tmp_path / "clip")
    file = tmp_path / "clip" / "preprocessor_config.json"
    edit(file, lambda told: told.update({k: v for k, v in changes.items() if v is not ...}))
    edit(file, lambda told: [told.pop(k) for k, v in changes.items() if v is ...])
    with pytest.raises(DataError, match=f"^preprocessor_config.json .*{re.escape(said)}"):
        convert(tmp_path / "clip", name="transformers", options={})


def test_the_numbers_of_filters_are_pillows(tmp_path: Path) -> None:
    """Releases of SigLIP differ by them."""
    clip_folder(tmp_path / "clip")
    for filtered in (Resampling.LANCZOS, Resampling.BILINEAR, Resampling.BICUBIC):
        edit(tmp_path / "clip" / "preprocessor_config.json", lambda told, n=filtered: told.update(resample=int(n)))
        (view,) = convert(tmp_path / "clip", name="transformers", options={}).preprocessing
        assert view["resample"] == filtered.name.lower()


def test_the_processor_of_transformers_5_lies_in_another_file(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPProcessor

    clip_folder(tmp_path / "clip")
    processor = CLIPImageProcessor.from_pretrained(tmp_path / "clip", image_mean=[0.1, 0.2, 0.3])
    CLIPProcessor(image_processor=processor, tokenizer=clip_words()).save_pretrained(tmp_path / "clip")
    assert (tmp_path / "clip" / "processor_config.json").is_file()
    # Where there are both, transformers takes the newer one; alone it is enough.
    for _ in range(2):
        made = convert(tmp_path / "clip", name="transformers", options={})
        assert made.model.spec["vision"]["mean"] == pytest.approx([0.1, 0.2, 0.3])
        (tmp_path / "clip" / "preprocessor_config.json").unlink(missing_ok=True)


def test_towers_that_older_files_describe_apart_are_those(tmp_path: Path) -> None:
    from transformers import CLIPModel

    clip_folder(tmp_path / "clip")
    for part in ("text_config", "vision_config"):
        edit(
            tmp_path / "clip" / "config.json",
            lambda told, part=part: told.update({f"{part}_dict": {**told[part], "hidden_act": "gelu"}}),
        )
    ours = kept(convert(tmp_path / "clip", name="transformers", options={}), tmp_path / "bundle")
    image, text = theirs(CLIPModel.from_pretrained(tmp_path / "clip").eval(), tmp_path / "clip", padding=True)
    assert np.abs(ours.embed_prepared(list(pictures(SIDE))) - image).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - text).max() < 1e-5


def test_a_configuration_that_does_not_hold_together_is_refused(tmp_path: Path) -> None:
    for number, (part, change, said) in enumerate(
        [
            ("text_config", {"eos_token_id": 70}, "takes the id 70 for the end of a text, and its tokenizer writes"),
            ("text_config", {"num_attention_heads": 5}, "describes no model of type 'clip' .* is not a multiple of"),
            ("vision_config", {"image_size": [32, 16]}, r"takes pictures of \[32, 16\]: one number is known here"),
        ]
    ):
        folder = tmp_path / str(number)
        clip_folder(folder)
        edit(folder / "config.json", lambda told, part=part, change=change: told[part].update(change))
        with pytest.raises(DataError, match=rf"config\.json of .* {said}"):
            convert(folder, name="transformers", options={})
    edit(folder / "config.json", lambda told: told["vision_config"].update({"image_size": 32}))
    edit(folder / "tokenizer_config.json", lambda told: told.update({"padding_side": "left"}))
    with pytest.raises(DataError, match=r"pads texts in front \(padding_side: left\), which moves their words"):
        convert(folder, name="transformers", options={})


def test_the_licence_is_that_of_the_card_beside_the_weights(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip")
    card = tmp_path / "clip" / "README.md"
    for stated, found in (
        ("license: cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("license: other\nlicense_name: hers", "hers"),
        ("tags: []", "not stated"),
        ("license: [", "not stated"),
    ):
        card.write_text(f"---\n{stated}\n---\n# Weights\n")
        made = convert(tmp_path / "clip", name="transformers", options={})
        assert made.provenance["licence"] == found
        assert f"Licence of the weights: {found.replace('not stated', 'none is stated')}" in made.card
    card.write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    known = convert(tmp_path / "clip", name="transformers", options={"release": "pubmedclip"})
    assert known.provenance["licence"] == "MIT", "what is known of a release"
    save_bundle(tmp_path / "bundle", convert(tmp_path / "clip", name="transformers", options={}))
    export(load_bundle(tmp_path / "bundle"), to="transformers", out=tmp_path / "out")
    assert convert(tmp_path / "out", name="transformers", options={}).provenance["licence"] == "cc-by-nc-4.0"


def test_a_folder_without_vocabulary_has_no_tokenizer(tmp_path: Path) -> None:
    """transformers makes an empty one of it, to which every text is the same unknown words."""
    clip_folder(tmp_path / "clip")
    (tmp_path / "clip" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="knows no words beside its special tokens: give the folder that has its vocab"):
        convert(tmp_path / "clip", name="transformers", options={})
