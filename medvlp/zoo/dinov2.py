"""DINOv2 in the form of transformers, RAD-DINO among them: an image tower without words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._folder import folder_at, settings_in, weights_in
from medvlp.zoo._keys import Rules, fused, renamed, without
from medvlp.zoo._pixels import read_by_processor
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported
from medvlp.zoo._vit import vit

RELEASES = {
    "other": Release(title="DINOv2", citation="Oquab et al., TMLR 2024, arXiv 2304.07193."),
    "rad_dino": Release(
        title="RAD-DINO",
        licence="MIT",
        citation="Perez-Garcia et al., Nature Machine Intelligence 2025, arXiv 2401.10815.",
        about="Trained on chest films alone, without reports; for probes, and as a tower to start from.",
    ),
}
_TOWER = "towers.image.backbone."
_LAYER = r"encoder\.layer\.(\d+)\."
_RULES: Rules = [
    (r"embeddings\.cls_token", f"{_TOWER}cls_token"),
    (r"embeddings\.position_embeddings", f"{_TOWER}pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.*)", rf"{_TOWER}patch_embed.proj.\1"),
    (rf"{_LAYER}norm([12])\.(.*)", rf"{_TOWER}blocks.\1.norm\2.\3"),
    (rf"{_LAYER}attention\.qkv\.(.*)", rf"{_TOWER}blocks.\1.attn.qkv.\2"),
    (rf"{_LAYER}attention\.output\.dense\.(.*)", rf"{_TOWER}blocks.\1.attn.proj.\2"),
    (rf"{_LAYER}layer_scale([12])\.lambda1", rf"{_TOWER}blocks.\1.ls\2.gamma"),
    (rf"{_LAYER}mlp\.(.*)", rf"{_TOWER}blocks.\1.mlp.\2"),
    (r"layernorm\.(.*)", rf"{_TOWER}norm.\1"),
]


def dinov2(
    *,
    source: Annotated[Path, FromModel("source")],
    release: Literal["other", "rad_dino"] = "other",
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import DINOv2 as transformers writes it; pooled is the class token behind the last norm.

    Args:
        source: folder with config.json, preprocessor_config.json and model.safetensors, or its hub name.
        release: whose weights they are, for licence and citation.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if a file is missing or cannot be read.
        DataError: if the weights are not those of the configuration, or it is another kind of model.
    """
    place = folder_at(source)
    settings = settings_in(place)
    if settings.get("model_type") != "dinov2" or settings.get("use_swiglu_ffn"):
        raise DataError(
            f"{place} holds a model of type {settings.get('model_type')!r}: this importer reads 'dinov2' without gated "
            "layers (not its giant)."
        )
    file = weights_in(place)
    weights, left = without(read_checkpoint(file), {r"embeddings\.mask_token": None})
    weights = _joined(weights)
    read, mean, std = read_by_processor(place, preset=preset)
    width, side = settings.get("hidden_size", 768), int(str(read["size"]))
    if side != settings.get("image_size", 224):
        raise DataError(
            f"Pictures of {place} are {side} pixels and its positions are for {settings.get('image_size', 224)}: set "
            "crop_size in preprocessor_config.json to that."
        )
    tower = vit(
        "plain",
        width=width,
        layers=settings.get("num_hidden_layers", 12),
        heads=settings.get("num_attention_heads", 12),
        hidden=int(width * settings.get("mlp_ratio", 4)),
        patch=settings.get("patch_size", 14),
        image_size=side,
        activation=settings.get("hidden_act", "gelu"),
        eps=settings.get("layer_norm_eps", 1e-6),
        mean=mean,
        std=std,
        options={"init_values": 1e-5, "qkv_bias": bool(settings.get("qkv_bias", True))},
    )
    return imported(
        {"name": "vision", "vision": tower},
        weights,
        _RULES,
        importer="dinov2",
        source=file,
        release=RELEASES[release],
        read=[read],
        answers=(),
        facts={"left_out": left},
        limits="It is read at the size of its positions; the mask token, which only training uses, is left out.",
    )


def ours_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names, in their own shapes."""
    return renamed(_joined(weights), _RULES)


def _joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return fused(weights, rf"({_LAYER}attention)\.attention\.{{query,key,value}}\.(.*)", r"\1.qkv.\3")
