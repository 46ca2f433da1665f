"""GLoRIA: ResNet-50 and Bio_ClinicalBERT; its global part. Local attention of words over regions stays behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.zoo._bert_pairs import BertPair, importer_of, padded_views
from medvlp.zoo._release import Release

__all__ = ["gloria"]


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return {"architecture": "resnet50", "image_size": 299, "mean": [0.5], "std": [0.5]}, padded_views(299)


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    joint = len(weights["img_encoder.global_embedder.weight"])
    return {"image/raw": {"name": "projection", "bias": True, "width": joint}, "text/raw": {"name": "identity"}}


gloria = importer_of(
    BertPair(
        name="gloria",
        release=Release(title="GLoRIA", licence="Apache-2.0", citation="Huang et al., ICCV 2021.", recipe="gloria_v1"),
        inside=("state_dict",),
        prefix="gloria.",
        image="img_encoder.model.",
        text="text_encoder.model.",
        rules=[(r"img_encoder\.global_embedder\.(.*)", r"heads.image/raw.output.\1")],
        unused={r"img_encoder\.local_embedder\..*": None},
        tower=_tower,
        heads=_heads,
        # The sum over words of the last four layers has the direction of the mean over tokens.
        pooled={"pool": "mean", "states": [-4, -3, -2, -1]},
        length=97,
        scale=1.0,
        limits=(
            "Of its score the global half is here; words are not compared with regions. The release also takes a text "
            "apart at everything that is no letter or digit, and drops sentences of one word."
        ),
    )
)
