"""CT-CLIP: attention within slabs and along the depth, a codebook, and CXR-BERT, for CT of the chest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._keys import Rules, Unused, count, under, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

_IMAGE, _TEXT, _TOWER = "visual_transformer.", "text_transformer.", "towers.stack."
_SPACING, _SLICES = [0.75, 0.75, 1.5], 240
_STACK = r"enc_(spatial|temporal)_transformer\."
_LAYER = rf"{_STACK}layers\.(\d+)\."
_RULES: Rules = [
    *under(
        _IMAGE,
        [
            *((rf"to_patch_emb\.{i + 1}\.(.*)", rf"embed.{i}.\1") for i in range(3)),
            *((rf"spatial_rel_pos_bias\.net\.{i}\.0\.(.*)", rf"bias.{2 * i}.\1") for i in range(2)),
            (r"spatial_rel_pos_bias\.net\.2\.(.*)", r"bias.4.\1"),
            (rf"{_LAYER}0\.dsconv\.(.*)", r"\1.\2.near.\3"),
            (rf"{_LAYER}1\.norm\.gamma", r"\1.\2.norm.weight"),
            (rf"{_LAYER}1\.to_(q|kv|out)\.(.*)", r"\1.\2.\3.\4"),
            (rf"{_LAYER}1\.([qk]_scale)", r"\1.\2.\3"),
            (rf"{_LAYER}3\.0\.(.*)", r"\1.\2.mlp.0.\3"),
            (rf"{_LAYER}3\.1\.(.*)", r"\1.\2.mlp.1.fc1.\3"),
            (rf"{_LAYER}3\.4\.(.*)", r"\1.\2.mlp.1.fc2.\3"),
            (rf"{_STACK}norm_out\.gamma", r"\1_norm.weight"),
            (r"vq\._codebook\.embed", "codes"),
        ],
        _TOWER,
    ),
    *under(_TEXT, [("(.*)", r"\1")], "towers.text.backbone."),
    (r"to_visual_latent\.(.*)", r"heads.stack/raw.output.\1"),
    (r"to_text_latent\.(.*)", r"heads.text/raw.output.\1"),
    ("temperature", "logit_scale.log_scale"),
]
_OWN = re.escape(_IMAGE)
_UNUSED: Unused = {
    **BERT_EXTRAS,
    re.escape(_TEXT) + r"pooler\.dense\.(weight|bias)": None,
    _OWN + r"to_patch_emb_first_frame\.[123]\.(weight|bias)": None,
    _OWN + r"to_pixels(_first_frame)?\.0\.(weight|bias)": None,
    _OWN + _LAYER + r"1\.context_norm\.(gamma|beta)": None,
    _OWN + _STACK + r"(layers\.\d+\.1\.norm|norm_out)\.beta": lambda tensor: not bool(tensor.any()),
    _OWN + _LAYER + r"1\.null_kv": lambda tensor: tensor.numel() == 0,
    _OWN + r"vq\._codebook\.cluster_size": None,
    _OWN + r"vq\._codebook\.initted": lambda tensor: bool(tensor.all()),
    r"to_(text|visual)_latent_extra\.weight": None,
}
_RELEASE = Release(
    title="CT-CLIP",
    licence="CC-BY-NC-SA 4.0",
    citation="Hamamci et al. 2024, arXiv 2403.17834.",
    about="Trained on CT of the chest with reports, of one hospital (CT-RATE); not for commercial use.",
    recipe="ct_clip_v1",
)


def ct_clip(*, source: Annotated[Path, FromModel("source")], tokenizer: str | None = None) -> Bundle:
    """Import a checkpoint of CT-CLIP.

    Args:
        source: the ``.pt`` file.
        tokenizer: folder or hub name of the tokenizer of CXR-BERT.

    Raises:
        UserError: if the file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    held = read_checkpoint(source)
    sizes, joint = _sizes(held, source)
    weights, left = without(held, _UNUSED)
    hub = "microsoft/BiomedVLP-CXR-BERT-specialized"
    config, words = bert_and_words(weights, _TEXT, tokenizer, title="CT-CLIP", hub=hub, length=512)
    spec = {
        "name": "dual",
        "vision": {"name": "ct_vit", **sizes},
        "text": {"name": "transformers", "config": config, "pool": "cls"},
        "embed_dim": joint,
    }
    size = [sizes["side"], sizes["side"], _SLICES]
    return imported(
        spec,
        weights,
        _RULES,
        importer="ct_clip",
        source=source,
        release=_RELEASE,
        read=[{"name": "read_grid", "size": size, "spacing": _SPACING, "codes": "LPS", "whole": True}],
        tokenizer=words,
        facts={"left_out": left},
        limits=(
            "The release read the arrays of CT-RATE's files as they lay there, to the patient's left, back and head; "
            "here every volume is turned so. Each token becomes the nearest of its codes: where two are about as near, "
            "rounding decides, and scores of another machine differ by more than rounding."
        ),
    )


def _sizes(weights: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Any], int]:
    """Return the options of the tower, and D."""
    layer = f"{_IMAGE}enc_spatial_transformer.layers.0."
    width, voxels = weights[f"{_IMAGE}to_patch_emb.2.weight"].shape
    joint, places = weights["to_visual_latent.weight"].shape
    flat = len(weights[f"{_IMAGE}to_patch_emb_first_frame.1.weight"])
    found = {
        "width": width,
        "heads": len(weights[f"{_IMAGE}spatial_rel_pos_bias.net.2.weight"]),
        "head_width": len(weights[f"{layer}1.q_scale"]),
        "hidden": weights[f"{layer}3.4.weight"].shape[1],
        "codes": weights[f"{_IMAGE}vq._codebook.embed"].shape[-2],
    }
    cell, grid = math.isqrt(flat), math.isqrt(places // width)
    if cell**2 != flat or voxels % flat or grid**2 * width != places:
        raise DataError(
            f"{source} has blocks of {voxels} voxels, slices of {flat}, and projects {places} numbers of vectors "
            f"{width} wide, which are no square grid of CT-CLIP: name its own weights."
        )
    layers = [count(weights, rf"{_OWN}enc_{each}_transformer\.layers\.(\d+)\..*") for each in ("spatial", "temporal")]
    return {**found, "layers": layers, "side": grid * cell, "cell": cell, "slab": voxels // flat}, joint
