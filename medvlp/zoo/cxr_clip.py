"""CXR-CLIP with a ResNet-50 or a Swin: Bio_ClinicalBERT pooled at its last token, a linear projection each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.zoo._bert_pairs import BertPair, importer_of
from medvlp.zoo._pixels import IMAGENET
from medvlp.zoo._release import Release
from medvlp.zoo._swin import SWIN_EXTRAS, swin_as_timm, swin_tower

__all__ = ["cxr_clip"]

_IMAGE = "image_encoder.resnet."


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    view = {"name": "read", "size": 224, "fit": "crop", "resample": "bilinear"}
    swin = swin_tower(weights, _IMAGE)
    mean, std = IMAGENET if swin is None else ([0.5], [0.5])
    return {**(swin or {"architecture": "resnet50"}), "image_size": 224, "mean": mean, "std": std}, [view]


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    plain = {"name": "projection", "bias": True, "width": len(weights["image_projection.projection.weight"])}
    # Its code takes the first of the tokens, as if there were a class token: with Swin it is the upper left patch.
    corner = {"reads": "tokens", "first": True} if swin_tower(weights, _IMAGE) else {}
    return {"image/raw": {**plain, **corner}, "text/raw": plain}


cxr_clip = importer_of(
    BertPair(
        name="cxr_clip",
        release=Release(
            title="CXR-CLIP",
            licence="CC-BY-NC-SA-4.0",
            citation="You et al., MICCAI 2023, arXiv 2310.13292.",
            about="Its README says CC-BY-NC.",
            recipe="cxr_clip_v1",
        ),
        inside=("model",),
        image=_IMAGE,
        arranged=lambda weights: swin_as_timm(weights, "image_encoder.image_encoder.", _IMAGE),
        text="text_encoder.text_encoder.",
        rules=[(rf"{kind}_projection\.projection\.(.*)", rf"heads.{kind}/raw.output.\1") for kind in ("image", "text")],
        unused=SWIN_EXTRAS,
        tower=_tower,
        heads=_heads,
        pooled={"pool": "last"},
    )
)
