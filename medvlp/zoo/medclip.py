"""MedCLIP with a ResNet-50: Bio_ClinicalBERT's layers 1, 2 and last averaged, a projection without bias each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert_pairs import BertPair, bert_pair
from medvlp.zoo._release import Release

__all__ = ["medclip"]


def medclip(
    *, source: Annotated[Path, FromModel("source")], tokenizer: str | None = None, preset: str = "dicom_voi_v1"
) -> Bundle:
    """Import a checkpoint of MedCLIP with a ResNet-50 (``pytorch_model.bin``); those with a Swin tower are not read.

    Args:
        source: the file.
        tokenizer: folder or hub name of Bio_ClinicalBERT's tokenizer.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    return bert_pair(_FAMILY, source, tokenizer=tokenizer, preset=preset)


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    view = {"name": "read", "size": 224, "fit": "square_pad", "resample": "bicubic"}
    return {
        "architecture": "resnet50",
        "image_size": 224,
        "mean": [0.5862785803043838],
        "std": [0.27950088968644304],
    }, [view]


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    joint = len(weights["vision_model.model.fc.weight"])
    return {f"{kind}/raw": {"name": "projection", "width": joint} for kind in ("image", "text")}


_FAMILY = BertPair(
    name="medclip",
    release=Release(title="MedCLIP", citation="Wang et al., EMNLP 2022, arXiv 2210.10163.", recipe="medclip_5x200_v1"),
    inside=("state_dict",),
    image="vision_model.model.",
    text="text_model.model.",
    rules=[
        (r"vision_model\.model\.fc\.weight", "heads.image/raw.output.weight"),  # the classifier's place, no classifier
        (r"text_model\.projection_head\.weight", "heads.text/raw.output.weight"),
    ],
    tower=_tower,
    heads=_heads,
    pooled={"pool": "mean", "states": [1, 2, -1]},
    length=77,
    limits=(
        "The release averages over padding too, so that its score of a text depends on the texts beside it; here a "
        "text is averaged over its own tokens, as the release does with a text alone."
    ),
)
