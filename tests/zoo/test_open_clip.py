"""OpenAI's and open_clip's layouts: what open_clip computes, the bundle computes; its tokens are CLIP's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.zoo import convert
from medvlp.zoo.exports import export
from tests.zoo.small import TEXTS, bert_words, changed, clip_words, kept, natural, pictures, spoilt, units

open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed (extra bench)")
SIDE = 32
VISION = {"layers": 2, "width": 128, "patch_size": 8, "image_size": SIDE, "head_width": 64}
WORDS = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
OPENAI = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def clip(*, quick: bool, length: int = 77) -> Any:
    model = open_clip.model.CLIP(32, VISION, {**WORDS, "context_length": length}, quick_gelu=quick)
    return natural(model)


def theirs(model: Any, mean: Any, std: Any, tokens: Tensor, *, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    with torch.inference_mode():
        return units(model.encode_image((pictures(side) - mean) / std)), units(model.encode_text(tokens))


def agrees(bundle: Any, folder: Path, expected: tuple[np.ndarray, np.ndarray], *, side: int = SIDE) -> float:
    ours = kept(bundle, folder)
    image = np.abs(ours.embed_prepared(list(pictures(side))) - expected[0]).max()
    return float(max(image, np.abs(ours.embed_text(TEXTS) - expected[1]).max()))


def test_chexzero_computes_what_open_clip_computes_of_its_file(tmp_path: Path) -> None:
    model = clip(quick=True)
    torch.save(model.state_dict(), tmp_path / "best.pt")
    bundle = convert(tmp_path / "best.pt", name="open_clip", options={"release": "chexzero"})
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    expected = theirs(model, (101.48761 / 255,), (83.43944 / 255,), tokens)
    assert agrees(bundle, tmp_path / "bundle", expected) < 1e-5
    assert np.exp(bundle.model.logit_scale.log_scale.item()) == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    # Its films lie at 320 with black around them, and are made smaller as tensors.
    kept_at = {"name": "read", "size": 320, "fit": "pad", "resample": "lanczos", "preset": "dicom_voi_v1"}
    assert bundle.preprocessing == [kept_at, {"name": "resample", "size": 224, "mode": "bicubic"}]
    assert bundle.answers[0].options["recipe"] == {"name": "pair_softmax", "scale": 1.0}
    assert bundle.provenance["licence"] == "not stated"
    plain = convert(tmp_path / "best.pt", name="open_clip", options={"release": "chexzero", "activation": "gelu"})
    assert agrees(plain, tmp_path / "other", expected) > 1e-3, "the other activation fits by name and shape alone"


def test_a_release_with_another_text_tower_does_not_stand_on_the_card(tmp_path: Path) -> None:
    torch.save(clip(quick=True).state_dict(), tmp_path / "best.pt")
    with pytest.raises(DataError, match="holds another text tower than BiomedCLIP: leave release out"):
        convert(tmp_path / "best.pt", name="open_clip", options={"release": "biomedclip"})
    biomed(tmp_path / "biomed")
    with pytest.raises(DataError, match="holds another text tower than CheXzero: leave release out"):
        convert(tmp_path / "biomed", name="open_clip", options={"release": "chexzero"})


def test_words_are_cut_into_clips_own_pieces() -> None:
    from medvlp.zoo._bpe import clip_tokenizer

    long = " ".join(TEXTS) * 8
    texts = [*TEXTS, "There is a 3.5 cm nodule, left-sided; it's NEW!", "  Cœur   élargi (µm) ", long]
    ours = clip_tokenizer(None, length=77, vocabulary=49408)(texts)
    expected = open_clip.get_tokenizer("ViT-B-32")(texts)
    for row, mask, their in zip(ours.ids, ours.mask, expected, strict=True):
        assert row[mask].tolist() == their[: int(mask.sum())].tolist()
        assert their[int(mask.sum()) :].eq(0).all()
    assert ours.truncated == 1


def test_prefixes_buffers_and_two_tables_of_positions(tmp_path: Path) -> None:
    model = clip(quick=True, length=40)
    held = model.state_dict()
    expected = theirs(model, *OPENAI, open_clip.get_tokenizer("ViT-B-32", context_length=40)(TEXTS))
    mask = {"attn_mask": torch.full((40, 40), float("-inf")).triu(1)}
    torch.save(
        {"state_dict": {**{f"module.{n}": t for n, t in {**held, **mask}.items()}}, "epoch": 3}, tmp_path / "a.pt"
    )
    first = convert(tmp_path / "a.pt", name="open_clip", options={"release": "pubmedclip"})
    assert agrees(first, tmp_path / "first", expected) < 1e-5
    assert first.provenance["left_out"] == ["attn_mask"]
    # Long-CLIP: of the first table 20 rows count, of the second the others.
    table = held["positional_embedding"]
    two = {
        **held,
        "positional_embedding": torch.cat([table[:20], torch.randn(20, 64)]),
        "positional_embedding_res": torch.cat([torch.randn(20, 64), table[20:]]),
    }
    torch.save(two, tmp_path / "long.pt")
    second = convert(tmp_path / "long.pt", name="open_clip", options={"release": "long_clip"})
    assert agrees(second, tmp_path / "second", expected) < 1e-5


def test_the_state_dict_of_openais_own_file_is_read(tmp_path: Path) -> None:
    """It holds half precision, and three sizes that open_clip takes out too."""
    held = {n: t.half() for n, t in clip(quick=True).state_dict().items()}
    sizes = {"input_resolution": SIDE, "context_length": 77, "vocab_size": 49408}
    torch.save({**held, **{name: torch.tensor(size) for name, size in sizes.items()}}, tmp_path / "ViT-B-32.pt")
    bundle = convert(tmp_path / "ViT-B-32.pt", name="open_clip", options={})
    assert bundle.provenance["left_out"] == list(sizes)
    model = clip(quick=True)
    model.load_state_dict(held)
    expected = theirs(model, *OPENAI, open_clip.get_tokenizer("ViT-B-32")(TEXTS))
    assert agrees(bundle, tmp_path / "bundle", expected) < 1e-5


def test_a_folder_tells_heads_mask_and_pooling_of_its_text_tower(tmp_path: Path) -> None:
    """ViTamin-XL has 16 heads at a width of 1152."""
    words = clip_words()
    folder = tmp_path / "clip"
    words.save_pretrained(folder)
    text = {**WORDS, "vocab_size": len(words), "width": 96, "heads": 2}
    model = natural(open_clip.model.CLIP(32, VISION, text))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")

    def told(**more: object) -> Any:
        asked = {key: value for key, value in {**text, **more}.items() if value is not None}
        settings = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": asked}
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": {}}))
        return convert(folder, name="open_clip", options={})

    ids = [torch.tensor(row) for row in words(TEXTS)["input_ids"]]
    tokens = torch.nn.utils.rnn.pad_sequence([*ids, torch.zeros(77, dtype=torch.int64)], batch_first=True)[:-1]
    assert agrees(told(), tmp_path / "bundle", theirs(model, *OPENAI, tokens)) < 1e-5
    # What it leaves out is open_clip's own default.
    assert told(heads=None).model.spec["text"]["config"]["num_attention_heads"] == open_clip.model.CLIPTextCfg().heads
    default, view = open_clip.transform.PreprocessCfg(), told().preprocessing[0]
    assert (default.resize_mode, default.interpolation) == ("shortest", view["resample"])
    assert (view["fit"], view["size"]) == ("crop", SIDE)
    assert told(pool_type="eos", eos_id=len(words) - 1).model.spec == told().model.spec
    with pytest.raises(DataError, match="text tower sees later words: only a causal one that pools where a text ends"):
        told(no_causal_mask=True)
    with pytest.raises(DataError, match="text tower pools by 'last'"):
        told(pool_type="last")
    for broken in ({"model_cfg": 3}, {"model_cfg": {"vision_cfg": None}}, {"preprocess_cfg": {"mean": 0.5}}):
        (folder / "open_clip_config.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match="is not what the importer open_clip reads"):
            pytest.fail(f"{broken}: {convert(folder, name='open_clip', options={})} was taken")


@pytest.mark.parametrize("last", [False, True])
def test_a_tower_that_averages_its_patches_computes_what_open_clip_computes(tmp_path: Path, last: bool) -> None:
    """The class token is left out, and the last norm stands before or behind the mean."""
    words = clip_words()
    words.save_pretrained(tmp_path)
    vision = {**VISION, "pool_type": "avg", "final_ln_after_pool": last}
    text = {**WORDS, "vocab_size": len(words)}
    model = natural(open_clip.model.CLIP(32, vision, text))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    told = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": told}))
    ids = words(TEXTS, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    expected = theirs(model, *OPENAI, ids)
    bundle = convert(tmp_path, name="open_clip", options={})
    assert agrees(bundle, tmp_path / "bundle", expected) < 1e-5
    if last:
        with pytest.raises(UserError, match=r"no place for towers\.image\.backbone\.norm|has .*backbone\.norm"):
            export(bundle, to="open_clip", out=tmp_path / "out")
    else:
        export(bundle, to="open_clip", out=tmp_path / "out")
        again = convert(tmp_path / "out", name="open_clip", options={})
        assert agrees(again, tmp_path / "again", expected) < 1e-5
    with pytest.raises(UserError, match="transformers' form has no place"):  # it has the class token alone
        export(bundle, to="transformers", out=tmp_path / "hf")


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_pooler"])
def test_other_poolers_of_bert_compute_what_open_clip_computes(tmp_path: Path, pooler: str) -> None:
    model, words = biomed(tmp_path / "biomed", pooler=pooler)
    ids = words(TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt")["input_ids"]
    bundle = convert(tmp_path / "biomed", name="open_clip", options={})
    assert agrees(bundle, tmp_path / "bundle", theirs(model, *OPENAI, ids, side=224), side=224) < 1e-5


def biomed(folder: Path, *, kind: str = "bert", pooler: str = "cls_last_hidden_state_pooler", **more: object) -> Any:
    from transformers import AutoConfig

    words = bert_words(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 1, **more}
    AutoConfig.for_model(kind, **sizes, vocab_size=len(words)).save_pretrained(folder / "bert")
    options = {"hf_model_pretrained": False, "hf_proj_type": "mlp", "hf_pooler_type": pooler}
    text = {"hf_model_name": str(folder / "bert"), "hf_tokenizer_name": str(folder), **options, "context_length": 64}
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
    made = natural(open_clip.model.CustomTextCLIP(48, vision, text))
    told = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    seen = {"mean": OPENAI[0], "std": OPENAI[1]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": told, "preprocess_cfg": seen}))
    numbered = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}  # of the released file
    torch.save({**made.state_dict(), **numbered}, folder / "open_clip_pytorch_model.bin")
    return made, words


def test_biomedclip_computes_what_open_clip_computes_of_its_folder(tmp_path: Path) -> None:
    model, words = biomed(tmp_path / "biomed")
    ids = words(TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt")["input_ids"]
    bundle = convert(tmp_path / "biomed", name="open_clip", options={"release": "biomedclip"})
    assert agrees(bundle, tmp_path / "bundle", theirs(model, *OPENAI, ids, side=224), side=224) < 1e-5
    assert bundle.tokenizer is not None
    assert bundle.tokenizer.max_length == 64
    assert bundle.preprocessing[0]["fit"] == "crop"
    # UniMed-CLIP names its text tower otherwise, and wraps all names.
    held = {f"module.{n.replace('text.', 'text_encoder.')}": t for n, t in model.state_dict().items()}
    torch.save({"state_dict": held}, tmp_path / "unimed.pt")
    with pytest.raises(DataError, match="no class token"):  # its image tower is OpenAI's, this one is timm's
        convert(tmp_path / "unimed.pt", name="open_clip", options={"release": "unimed_clip"})
    causal = {n: t for n, t in clip(quick=True).state_dict().items() if n.startswith("visual.")}
    causal["visual.proj"] = natural(torch.nn.Linear(48, 128, bias=False)).weight.detach()
    mixed = {**{n: t for n, t in held.items() if "visual" not in n}, **{f"module.{n}": t for n, t in causal.items()}}
    torch.save({"state_dict": mixed}, tmp_path / "unimed.pt")
    options = {"release": "unimed_clip", "tokenizer": str(tmp_path / "biomed")}
    ours = kept(convert(tmp_path / "unimed.pt", name="open_clip", options=options), tmp_path / "unimed")
    assert ours.bundle.tokenizer is not None
    assert ours.bundle.tokenizer.max_length == 256
    with torch.inference_mode():
        expected = units(model.encode_text(ids))
    assert np.abs(ours.embed_text(TEXTS) - expected).max() < 1e-5
    with pytest.raises(UserError, match="brings no tokenizer: give tokenizer=FOLDER, or microsoft/BiomedNLP"):
        convert(tmp_path / "unimed.pt", name="open_clip", options={"release": "unimed_clip"})


def test_what_the_weights_of_bert_do_not_tell_its_configuration_does(tmp_path: Path) -> None:
    """Heads, activation and epsilon have no weights, and RoBERTa has the names of BERT."""
    told = {"num_attention_heads": 4, "hidden_act": "relu", "layer_norm_eps": 1e-3}
    model, words = biomed(tmp_path / "biomed", **told)
    ids = words(TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt")["input_ids"]
    bundle = convert(tmp_path / "biomed", name="open_clip", options={})
    assert agrees(bundle, tmp_path / "bundle", theirs(model, *OPENAI, ids, side=224), side=224) < 1e-5
    biomed(tmp_path / "roberta", kind="roberta", type_vocab_size=1)
    with pytest.raises(DataError, match="text tower is of the type 'roberta', which shares names with BERT"):
        convert(tmp_path / "roberta", name="open_clip", options={})
    (tmp_path / "roberta" / "bert" / "config.json").unlink()
    with pytest.raises(DataError, match="of the type 'roberta'"):  # its weights tell it too
        convert(tmp_path / "roberta", name="open_clip", options={})


@pytest.mark.parametrize(
    ("part", "key", "said"),
    [
        ("text_cfg", "hf_pooler_type", ""),
        ("vision_cfg", "timm_pool", r"do not fit: 2 are missing, such as .*fc_norm\.weight"),
    ],
)
def test_how_a_folder_that_does_not_say_it_pools_is_open_clips_default(
    tmp_path: Path, part: str, key: str, said: str
) -> None:
    model, words = biomed(tmp_path / "biomed")
    file = tmp_path / "biomed" / "open_clip_config.json"
    told = json.loads(file.read_text())
    del told["model_cfg"][part][key]
    file.write_text(json.dumps(told))
    other = open_clip.model.CustomTextCLIP(48, told["model_cfg"]["vision_cfg"], told["model_cfg"]["text_cfg"]).eval()
    other.load_state_dict(model.state_dict())
    ids = words(TEXTS, padding="max_length", max_length=64, return_tensors="pt", truncation=True)["input_ids"]
    pairs = zip(*(theirs(each, *OPENAI, ids, side=224) for each in (model, other)), strict=True)
    assert max(np.abs(one - another).max() for one, another in pairs) > 0.1, "the same weights, and another model"
    if said:
        with pytest.raises(DataError, match=said):
            convert(tmp_path / "biomed", name="open_clip", options={})
    else:
        bundle = convert(tmp_path / "biomed", name="open_clip", options={})
        assert agrees(bundle, tmp_path / "bundle", theirs(other, *OPENAI, ids, side=224), side=224) < 1e-5


UNREAD = {
    "pool_type": ({"pool_type": "none"}, {}, "sets vision_cfg.pool_type to 'none', which is not read here"),
    "norm": ({"norm_kwargs": {"eps": 1e-2}}, {}, r"sets vision_cfg.norm_kwargs to {'eps': 0.01}"),
    "activation": ({}, {"act_kwargs": {"approximate": "tanh"}}, "sets text_cfg.act_kwargs to"),
    "words": ({}, {"tokenizer_kwargs": {"clean": "canonicalize"}}, "sets text_cfg.tokenizer_kwargs to"),
    "no square": ({"image_size": [64, 16]}, {}, r"takes pictures of \[64, 16\]: only squares are read here"),
    "end": ({}, {"pool_type": "eos", "eos_id": 70}, "pools where the id 70 stands, and the tokenizer ends texts with"),
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_no_weight_tells_is_refused_where_it_is_another_model(tmp_path: Path, case: str) -> None:
    vision, text, said = UNREAD[case]
    words = clip_words()
    words.save_pretrained(tmp_path)
    both = {**VISION, **vision}, {**WORDS, "vocab_size": len(words), **text}
    torch.save(open_clip.model.CLIP(32, *both).state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    told = {"embed_dim": 32, "vision_cfg": both[0], "text_cfg": both[1]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": told}))
    with pytest.raises(DataError, match=said):
        convert(tmp_path, name="open_clip", options={})


def test_an_older_form_with_a_pooler_is_refused(tmp_path: Path) -> None:
    model, _ = biomed(tmp_path / "biomed")
    pooler = {"text.transformer.pooler.dense.weight": torch.zeros(64, 64)}
    torch.save({**model.state_dict(), **pooler}, tmp_path / "biomed" / "open_clip_pytorch_model.bin")
    with pytest.raises(DataError, match="brings a pooler that this does not read, as an older form of BiomedCLIP"):
        convert(tmp_path / "biomed", name="open_clip", options={})


def test_other_weights_and_no_weights_are_refused(tmp_path: Path) -> None:
    weights = clip(quick=True).state_dict()
    for what, held in changed(weights):
        torch.save(held, tmp_path / "a.pt")
        with pytest.raises(DataError, match=r"do not fit|is another|lacks"):
            pytest.fail(f"{what}: {convert(tmp_path / 'a.pt', name='open_clip', options={})} was taken")
    cut_off = ("visual.conv1.weight", "visual.positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight")
    for name in cut_off:
        torch.save({n: t for n, t in weights.items() if n != name}, tmp_path / "a.pt")
        with pytest.raises(DataError, match=f"the importer open_clip reads .it lacks '{name}'"):
            convert(tmp_path / "a.pt", name="open_clip", options={})
    torch.save(weights, tmp_path / "a.pt")
    for what, bytes_ in spoilt(tmp_path / "a.pt", tmp_path / "trace"):
        (tmp_path / "bad.pt").write_bytes(bytes_)
        with pytest.raises(UserError, match="cannot be read as weights alone") as refused:
            pytest.fail(f"{what}: {convert(tmp_path / 'bad.pt', name='open_clip', options={})} was taken")
        assert "weights_only" not in str(refused.value), "torch's advice to read it without care is not passed on"
    assert not (tmp_path / "trace").exists(), "code of the file was run"
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"has no weights under visual\."):
        convert(tmp_path / "a.pt", name="open_clip", options={})
