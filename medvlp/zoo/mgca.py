"""MGCA (and its ConVIRT): ResNet-50 or ViT-B/16 and a BERT of six layers; the part that compares whole pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medvlp.zoo._bert_pairs import BertPair, bare_words, importer_of, padded_views
from medvlp.zoo._keys import folded
from medvlp.zoo._release import Release, reworded, zero_shot
from medvlp.zoo._vit import plain_vit

__all__ = ["mgca"]

_RELEASE = Release(title="MGCA", citation="Wang et al., NeurIPS 2022, arXiv 2210.06044.")
_TEXT = "text_encoder_q.model."
_HEAD = r"{}_encoder_q\.global_embed\.head\.{}\.(.*)"


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    vit = "img_encoder_q.model.cls_token" in weights
    side = 224 if vit else 299
    found = plain_vit(weights, "img_encoder_q.model.") if vit else {"architecture": "resnet50"}
    return {**found, "image_size": side, "mean": [0.5], "std": [0.5]}, padded_views(side)


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    found = {}
    for kind, part in (("image", "img"), ("text", "text")):
        prefix = f"{part}_encoder_q.global_embed.head."
        sizes = {"hidden": len(weights[f"{prefix}0.weight"]), "width": len(weights[f"{prefix}3.weight"])}
        found[f"{kind}/raw"] = {"name": "projection", "bias": True, **sizes}
    return found


def _arranged(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """ConVIRT's names as MGCA's, BatchNorm in the layers in front of it, and a BERT that adds what theirs does.

    Theirs knows no kinds of tokens, and is handed them, all 0, as the places: every token stands at the first.
    """
    held = dict(weights)
    for part in ("img", "text"):
        held = {name.replace(f"{part}_encoder.", f"{part}_encoder_q.", 1): t for name, t in held.items()}
        prefix = f"{part}_encoder_q.global_embed.head."
        held = folded(folded(held, f"{prefix}0", f"{prefix}1"), f"{prefix}3", f"{prefix}4")
    places = held.get(f"{_TEXT}embeddings.position_embeddings.weight")
    if places is not None:
        held[f"{_TEXT}embeddings.position_embeddings.weight"] = places[:1].repeat(len(places), 1)
        held[f"{_TEXT}embeddings.token_type_embeddings.weight"] = torch.zeros_like(places[:2])
    return held


mgca = importer_of(
    BertPair(
        name="mgca",
        release=_RELEASE,
        inside=("state_dict",),
        image="img_encoder_q.model.",
        text=_TEXT,
        rules=[
            (_HEAD.format(part, number), rf"heads.{kind}/raw.{ours}.\1")
            for kind, part in (("image", "img"), ("text", "text"))
            for number, ours in ((0, "hidden.0"), (3, "output"))
        ],
        unused={
            r"(img|text)_encoder(_q)?\.local_embed\..*": None,
            r"(patch|word)_local_atten_layer\..*": None,
            r"prototype_layer\.weight": None,
            r".*\.crossattention\..*": None,  # built with the text tower and never run
        },
        arranged=_arranged,
        tower=_tower,
        heads=_heads,
        length=112,
        asked=lambda learnt, source: reworded(zero_shot(_RELEASE)[0], bare_words),
        limits=(
            "Words against regions, and its prototypes, are left out: they served the training. Its code reads every "
            "word at the first place, so that the order of words counts for nothing in a text. It takes texts apart at "
            "everything that is no letter or digit: so do the prompts here, and you should of your own."
        ),
    )
)
