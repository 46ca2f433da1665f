"""MedCLIP with a ResNet-50 or a Swin: Bio_ClinicalBERT's layers 1, 2 and last averaged, a linear map each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.zoo._bert_pairs import BertPair, importer_of
from medvlp.zoo._release import Release
from medvlp.zoo._swin import SWIN_EXTRAS, swin_as_timm, swin_tower

__all__ = ["medclip"]

_IMAGE = "vision_model.model."


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    view = {"name": "read", "size": 224, "fit": "square_pad", "resample": "bicubic"}
    found = swin_tower(weights, _IMAGE) or {"architecture": "resnet50"}
    return {**found, "image_size": 224, "mean": [0.5862785803043838], "std": [0.27950088968644304]}, [view]


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    joint = len(weights["text_model.projection_head.weight"])
    return {f"{kind}/raw": {"name": "projection", "width": joint} for kind in ("image", "text")}


medclip = importer_of(
    BertPair(
        name="medclip",
        release=Release(
            title="MedCLIP", citation="Wang et al., EMNLP 2022, arXiv 2210.10163.", recipe="medclip_5x200_v1"
        ),
        inside=("state_dict",),
        image=_IMAGE,
        arranged=lambda weights: swin_as_timm(weights, _IMAGE, _IMAGE),
        text="text_model.model.",
        rules=[
            # In the classifier's place, and no classifier.
            (r"vision_model\.model\.fc\.weight", "heads.image/raw.output.weight"),
            (r"vision_model\.projection_head\.weight", "heads.image/raw.output.weight"),  # of the Swin
            (r"text_model\.projection_head\.weight", "heads.text/raw.output.weight"),
        ],
        unused=SWIN_EXTRAS,
        tower=_tower,
        heads=_heads,
        pooled={"pool": "mean", "states": [1, 2, -1]},
        length=77,
        limits=(
            "The release averages over padding too, so that its score of a text depends on the texts beside it; here a "
            "text is averaged over its own tokens, as the release does with a text alone."
        ),
    )
)
