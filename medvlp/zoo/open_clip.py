"""CLIP in OpenAI's and open_clip's layouts: CheXzero, PubMedCLIP's file, MetaCLIP, Long-CLIP, BiomedCLIP, UniMed-CLIP.

A file of weights alone tells all sizes by its shapes, but neither activation, nor pixels, nor words; a folder of
open_clip (``open_clip_config.json``) tells them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert import BERT_EXTRAS, bert_config, config_of
from medvlp.zoo._bpe import clip_tokenizer
from medvlp.zoo._folder import folder_at, settings_in, tokenizer_in, weights_in
from medvlp.zoo._keys import Rules, count, renamed, split_rows, without
from medvlp.zoo._open_clip_releases import RELEASES, Known
from medvlp.zoo._pixels import OPENAI
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import imported
from medvlp.zoo._vit import vit

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_CONFIG = "open_clip_config.json"
_IMAGE, _TEXT = "towers.image.backbone.", "towers.text.backbone."
_BLOCK = r"resblocks\.(\d+)\."
_RULES: Rules = [
    (r"visual\.class_embedding", f"{_IMAGE}cls_token"),
    (r"visual\.positional_embedding", f"{_IMAGE}pos_embed"),
    (r"visual\.conv1\.weight", f"{_IMAGE}patch_embed.proj.weight"),
    (r"visual\.ln_pre\.(.*)", rf"{_IMAGE}norm_pre.\1"),
    (r"visual\.ln_post\.(.*)", rf"{_IMAGE}norm.\1"),
    (rf"visual\.transformer\.{_BLOCK}ln_([12])\.(.*)", rf"{_IMAGE}blocks.\1.norm\2.\3"),
    (rf"visual\.transformer\.{_BLOCK}attn\.in_proj_(.*)", rf"{_IMAGE}blocks.\1.attn.qkv.\2"),
    (rf"visual\.transformer\.{_BLOCK}attn\.out_proj\.(.*)", rf"{_IMAGE}blocks.\1.attn.proj.\2"),
    (rf"visual\.transformer\.{_BLOCK}mlp\.c_fc\.(.*)", rf"{_IMAGE}blocks.\1.mlp.fc1.\2"),
    (rf"visual\.transformer\.{_BLOCK}mlp\.c_proj\.(.*)", rf"{_IMAGE}blocks.\1.mlp.fc2.\2"),
    (r"visual\.trunk\.(.*)", rf"{_IMAGE}\1"),
    (r"visual\.(?:proj|head\.proj\.weight)", "heads.image/raw.output.weight"),
    (r"text\.token_embedding\.weight", f"{_TEXT}embeddings.token_embedding.weight"),
    (r"text\.positional_embedding", f"{_TEXT}embeddings.position_embedding.weight"),
    (r"text\.ln_final\.(.*)", rf"{_TEXT}final_layer_norm.\1"),
    (rf"text\.transformer\.{_BLOCK}ln_([12])\.(.*)", rf"{_TEXT}encoder.layers.\1.layer_norm\2.\3"),
    (rf"text\.transformer\.{_BLOCK}attn\.((?:q|k|v|out)_proj\..*)", rf"{_TEXT}encoder.layers.\1.self_attn.\2"),
    (rf"text\.transformer\.{_BLOCK}mlp\.c_fc\.(.*)", rf"{_TEXT}encoder.layers.\1.mlp.fc1.\2"),
    (rf"text\.transformer\.{_BLOCK}mlp\.c_proj\.(.*)", rf"{_TEXT}encoder.layers.\1.mlp.fc2.\2"),
    (r"text\.transformer\.((?:embeddings|encoder|pooler)\..*)", rf"{_TEXT}\1"),
    (r"text\.(?:text_projection|proj\.weight|proj\.2\.weight)", "heads.text/raw.output.weight"),
    (r"text\.proj\.0\.weight", "heads.text/raw.hidden.0.weight"),
    (r"logit_scale", "logit_scale.log_scale"),
]
# A mask of older files; sizes that OpenAI's own files hold beside the weights, which tell them.
_UNUSED = {r"(.*\.)?attn_mask": None, "input_resolution|context_length|vocab_size": lambda tensor: tensor.numel() == 1}
_POOLS = {"cls_last_hidden_state_pooler": "cls", "mean_pooler": "mean", "cls_pooler": "pooler"}  # open_clip's -> ours
_CAUSAL = r"(?:transformer\..*|token_embedding\..*|positional_embedding(?:_res)?|ln_final\..*|text_projection)"


def open_clip(
    *,
    source: Annotated[Path, FromModel("source")],
    release: Literal["other", "chexzero", "pubmedclip", "biomedclip", "unimed_clip", "long_clip"] = "other",
    activation: Literal["quick_gelu", "gelu"] | None = None,
    tokenizer: str | None = None,
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import a checkpoint in OpenAI's or open_clip's layout.

    Args:
        source: a file of weights, or a folder of open_clip, or its hub name.
        release: whose weights they are, for pixels, licence, citation and recipe.
        activation: of the vision and of a causal text transformer; the file does not tell it, a folder's configuration
            does. None: what that says, else OpenAI's ``quick_gelu``.
        tokenizer: folder or hub name of the tokenizer of a file; None: CLIP's own, see the error if there is none.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if a file is missing or cannot be read, or the tokenizer is.
        DataError: if the weights are another architecture, or its configuration says what is not read here.
    """
    known = RELEASES[release]
    place = None if source.is_file() else folder_at(source)
    file = source if place is None else weights_in(place, *_FILES)
    settings: Mapping[str, Any] = {} if place is None else settings_in(place, _CONFIG)
    weights, left = without(read_checkpoint(file, inside=("state_dict",)), {**BERT_EXTRAS, **_UNUSED})
    weights = _straight(weights)
    if not any(name.startswith("visual.") for name in weights):
        raise DataError(f"{file} has no weights under visual.: it is not in OpenAI's or open_clip's layout.")
    _refuse_unread(settings.get("model_cfg", {}))
    quick = settings.get("model_cfg", {}).get("quick_gelu", not settings)
    act = activation or ("quick_gelu" if quick else "gelu")
    read, mean, std = _pixels(known, settings.get("preprocess_cfg", {}), preset)
    vision = _vision(weights, settings.get("model_cfg", {}), act, mean=mean, std=std)
    if vision.get("options", {}).get("fc_norm"):  # timm's name of a last norm behind the mean over patches
        weights = renamed(weights, [(r"visual\.ln_post\.(.*)", r"visual.trunk.fc_norm.\1")])
    bert = "text.transformer.embeddings.word_embeddings.weight" in weights
    if release != "other" and bert != known.bert:
        raise DataError(f"{file} holds another text tower than {known.release.title}: leave release out.")
    own = settings.get("model_cfg", {}).get("text_cfg", {})
    text, heads, length = _bert_text(weights, own, known) if bert else _causal_text(weights, own, act)
    if bert and place is None and tokenizer is None:
        raise UserError(f"{file} brings no tokenizer: give tokenizer=FOLDER, or {known.words or 'the hub name of it'}.")
    vocabulary = text["config"]["vocab_size"]
    if place is not None or bert:
        words = tokenizer_in(place or Path(str(tokenizer)), length=length, vocabulary=vocabulary)
    else:
        words = clip_tokenizer(tokenizer, length=length, vocabulary=vocabulary)
    # By itself it takes the largest id for the end of a text.
    end = own.get("eos_id", 2) if own.get("pool_type") == "eos" else words.vocab_size - 1
    if not bert and words.stop_id != end:
        raise DataError(
            f"The text tower pools where the id {end} stands, and the tokenizer ends texts with {words.stop_id}: the "
            "two do not belong together."
        )
    side: Any = vision["image_size"]
    joint = next((len(weights[n]) for n in ("visual.proj", "visual.head.proj.weight") if n in weights), 0)
    views = [view if "size" in view else {**view, "size": side} for view in read]
    return imported(
        {"name": "dual", "vision": vision, "text": text, "embed_dim": joint, "heads": heads},
        weights,
        _RULES,
        importer="open_clip",
        source=file,
        release=known.release,
        read=views,
        tokenizer=words,
        facts={"left_out": left, "activation": act},
        limits=known.limits,
    )


def ours_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names, in their own shapes."""
    return renamed(_straight(weights), _RULES)


def _straight(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the layouts to one: text under ``text.``, projections as a linear layer has them, queries apart."""
    held = {name.replace("text_encoder.", "text.", 1): tensor for name, tensor in weights.items()}
    held = renamed(held, [(f"({_CAUSAL})", r"text.\1")])
    # Long-CLIP: the first 20 positions are one table's, the others another's.
    stretched = held.pop("text.positional_embedding_res", None)
    if stretched is not None:
        held["text.positional_embedding"] = torch.cat([held["text.positional_embedding"][:20], stretched[20:]])
    for name in ("visual.proj", "text.text_projection"):
        if name in held:
            held[name] = held[name].T.contiguous()
    into = tuple((rf"\1.{part}_proj.\2", 1) for part in "qkv")
    return split_rows(held, r"(text\..*\.attn)\.in_proj_(.*)", into)


def _refuse_unread(model: Mapping[str, Any]) -> None:
    """Refuse what a configuration says beside sizes that no weight tells of: it would be left aside unseen."""
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    words = {k: v for k, v in (text.get("tokenizer_kwargs") or {}).items() if v and (k, v) != ("clean", "whitespace")}
    said = {f"text_cfg.{key}": text.get(key) for key in ("act_kwargs", "norm_kwargs", "tokenizer_mode")}
    said |= {"text_cfg.tokenizer_kwargs": words}
    if "timm_model_name" not in vision:
        said |= {f"vision_cfg.{key}": vision.get(key) for key in ("act_kwargs", "norm_kwargs")}
        said |= {"vision_cfg.pool_type": re.sub("^(tok|avg)$", "", vision.get("pool_type", "tok"))}
    for key, value in said.items():
        if value:
            raise DataError(f"{_CONFIG} sets {key} to {value!r}, which is not read here: it would be another model.")


def _side(settings: Mapping[str, Any], otherwise: int) -> int:
    """Return the side of a picture in pixels.

    Raises:
        DataError: if it is no square.
    """
    given = settings.get("image_size", otherwise)
    sides = {given} if isinstance(given, int) else set(given)
    if len(sides) > 1:
        raise DataError(f"The image tower takes pictures of {given}: only squares are read here.")
    return sides.pop()


def _vision(
    weights: Mapping[str, Tensor], model: Mapping[str, Any], act: str, *, mean: list[float], std: list[float]
) -> dict[str, Any]:
    settings = model.get("vision_cfg", {})
    if "timm_model_name" in settings:
        pool, last = settings.get("timm_pool", "avg"), settings.get("timm_proj", "linear")  # open_clip's own defaults
        if last != "linear" or pool in ("abs_attn", "rot_attn"):
            raise DataError(
                f"The timm tower ends in {pool!r} and {last!r}: only the trunk's own pooling with a linear projection "
                "is read here."
            )
        return {
            "name": "timm",
            "architecture": settings["timm_model_name"],
            "image_size": _side(settings, 224),
            "channels": 3,
            "pool": pool or None,
            "mean": mean,
            "std": std,
        }
    if "visual.class_embedding" not in weights:
        raise DataError(
            "The image tower has no class token: of OpenAI's layout the transformers are read, the ResNets (RN50 ...) "
            "are not."
        )
    width, _, patch, _ = weights["visual.conv1.weight"].shape
    side = round((len(weights["visual.positional_embedding"]) - 1) ** 0.5)
    hidden = len(weights["visual.transformer.resblocks.0.mlp.c_fc.weight"])
    averaged = settings.get("pool_type") == "avg"
    tower = vit(
        "clip",
        width=width,
        layers=count(weights, rf"visual\.transformer\.{_BLOCK}.*"),
        heads=width // settings.get("head_width", 64),
        hidden=hidden,
        patch=patch,
        image_size=_side(settings, side * patch),
        activation=act,
        eps=1e-5,
        mean=mean,
        std=std,
        options={"fc_norm": bool(settings.get("final_ln_after_pool"))} if averaged else {},
    )
    return {**tower, "pool": "avg"} if averaged else tower


def _causal_text(
    weights: Mapping[str, Tensor], text: Mapping[str, Any], act: str
) -> tuple[dict[str, Any], dict[str, Any], int]:
    pool = text.get("pool_type", "argmax")
    if text.get("no_causal_mask") or pool not in ("argmax", "eos"):
        what = "sees later words" if text.get("no_causal_mask") else f"pools by {pool!r}"
        raise DataError(f"The text tower {what}: only a causal one that pools where a text ends is read here.")
    vocabulary, width = weights["text.token_embedding.weight"].shape
    length = len(weights["text.positional_embedding"])
    hidden = len(weights["text.transformer.resblocks.0.mlp.c_fc.weight"])
    config = {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": count(weights, rf"text\.transformer\.{_BLOCK}.*"),
        "num_attention_heads": text.get("heads", 8) if text else max(1, width // 64),  # 8: open_clip's own default
        "max_position_embeddings": length,
        "hidden_act": act,
        "layer_norm_eps": 1e-5,
    }
    return {"name": "transformers", "config": config, "pool": "last"}, {}, length


def _bert_text(
    weights: Mapping[str, Tensor], text: Mapping[str, Any], known: Known
) -> tuple[dict[str, Any], dict[str, Any], int]:
    # What a folder does not say is open_clip's own default; of a file alone the releases' is known.
    otherwise = "mean_pooler" if text else "cls_last_hidden_state_pooler"
    named = text.get("hf_pooler_type", text.get("pooler_type", otherwise))
    pool = _POOLS.get(named)
    if pool is None or any(".transformer.pooler." in name for name in weights) != (pool == "pooler"):
        raise DataError(
            f"The text tower pools by {named!r}, or brings a pooler that this does not read, as an older form of "
            f"BiomedCLIP does: {', '.join(_POOLS)} are read, the last with its pooler, the others without."
        )
    kinds = weights.get("text.transformer.embeddings.token_type_embeddings.weight", ())
    beside = config_of(text.get("hf_model_name")) or ({"model_type": "roberta"} if len(kinds) == 1 else {})
    config = bert_config(weights, "text.transformer.", beside=beside)
    hidden = weights.get("text.proj.0.weight")
    more = {} if hidden is None else {"hidden": len(hidden), "activation": "gelu", "hidden_bias": False}
    length = min(config["max_position_embeddings"], text.get("context_length", 77 if text else known.length))
    return (
        {"name": "transformers", "config": config, "pool": pool},
        {"text/raw": {"name": "projection", **more}},
        length,
    )


def _pixels(
    known: Known, settings: Mapping[str, Any], preset: str
) -> tuple[list[dict[str, Any]], list[float], list[float]]:
    """Return the views and the statistics: the release's own, else those of the folder, else open_clip's default."""
    if known.views:
        views = [{**view, "preset": preset} if view["name"] == "read" else dict(view) for view in known.views]
        return views, list(known.mean), list(known.std)
    resize, filtered = settings.get("resize_mode", "shortest"), settings.get("interpolation", "bicubic")
    fits = {"shortest": "crop", "squash": "squeeze"}
    if resize not in fits or filtered not in ("bicubic", "bilinear"):
        raise DataError(f"preprocess_cfg resizes by {resize!r}, {filtered!r}: {', '.join(fits)} are known here.")
    view = {"name": "read", "preset": preset, "fit": fits[resize], "resample": filtered}
    return [view], list(settings.get("mean", OPENAI[0])), list(settings.get("std", OPENAI[1]))
