"""CXR-CLIP with a ResNet-50: Bio_ClinicalBERT pooled at its last token, a linear projection each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert_pairs import BertPair, bert_pair
from medvlp.zoo._pixels import IMAGENET
from medvlp.zoo._release import Release

__all__ = ["cxr_clip"]


def cxr_clip(
    *, source: Annotated[Path, FromModel("source")], tokenizer: str | None = None, preset: str = "dicom_voi_v1"
) -> Bundle:
    """Import a checkpoint of CXR-CLIP with a ResNet-50; those with a Swin tower, pooled at a corner, are not read.

    Args:
        source: the ``.tar`` file, which is torch's and no archive; its configuration is not looked at.
        tokenizer: folder or hub name of Bio_ClinicalBERT's tokenizer.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    return bert_pair(_FAMILY, source, tokenizer=tokenizer, preset=preset)


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    view = {"name": "read", "size": 224, "fit": "crop", "resample": "bilinear"}
    return {"architecture": "resnet50", "image_size": 224, "mean": IMAGENET[0], "std": IMAGENET[1]}, [view]


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    joint = len(weights["image_projection.projection.weight"])
    return {f"{kind}/raw": {"name": "projection", "bias": True, "width": joint} for kind in ("image", "text")}


_FAMILY = BertPair(
    name="cxr_clip",
    release=Release(
        title="CXR-CLIP",
        licence="CC-BY-NC-SA-4.0",
        citation="You et al., MICCAI 2023, arXiv 2310.13292.",
        about="Its README says CC-BY-NC.",
        recipe="cxr_clip_v1",
    ),
    inside=("model",),
    image="image_encoder.resnet.",
    text="text_encoder.text_encoder.",
    rules=[(rf"{kind}_projection\.projection\.(.*)", rf"heads.{kind}/raw.output.\1") for kind in ("image", "text")],
    tower=_tower,
    heads=_heads,
    pooled={"pool": "last"},
)
