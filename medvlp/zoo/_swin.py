"""Swin towers of transformers as timm's: names, and sizes read off the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medvlp.zoo._keys import Rules, count, fused, renamed

_BLOCK = r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_NAMES: Rules = [
    (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
    (r"embeddings\.norm\.(.*)", r"patch_embed.norm.\1"),
    (_BLOCK + r"attention\.self\.(qkv\..*|relative_position_bias_table)", r"layers.\1.blocks.\2.attn.\3"),
    (_BLOCK + r"attention\.output\.dense\.(.*)", r"layers.\1.blocks.\2.attn.proj.\3"),
    (_BLOCK + r"layernorm_before\.(.*)", r"layers.\1.blocks.\2.norm1.\3"),
    (_BLOCK + r"layernorm_after\.(.*)", r"layers.\1.blocks.\2.norm2.\3"),
    (_BLOCK + r"intermediate\.dense\.(.*)", r"layers.\1.blocks.\2.mlp.fc1.\3"),
    (_BLOCK + r"output\.dense\.(.*)", r"layers.\1.blocks.\2.mlp.fc2.\3"),
    # What follows a stage here begins the next one there.
    *((rf"encoder\.layers\.{i}\.downsample\.(.*)", rf"layers.{i + 1}.downsample.\1") for i in range(3)),
    (r"layernorm\.(.*)", r"norm.\1"),
]


def swin_as_timm(weights: Mapping[str, Tensor], prefix: str, ours: str) -> dict[str, Tensor]:
    """Return the weights with the Swin tower under a prefix by timm's names under another; others stay as they are."""
    tower = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    if "embeddings.patch_embeddings.projection.weight" not in tower:
        return dict(weights)
    tower = fused(tower, r"(.*\.attention\.self)\.{query,key,value}\.(.*)", r"\1.qkv.\2")
    others = {name: t for name, t in weights.items() if not name.startswith(prefix)}
    return others | {f"{ours}{name}": t for name, t in renamed(tower, _NAMES).items()}


def swin_tower(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any] | None:
    """Return architecture and options of the Swin tower of timm under a prefix; None where there is none."""
    table = f"{prefix}layers.{{}}.blocks.0.attn.relative_position_bias_table"
    if table.format(0) not in weights:
        return None
    stages = range(count(weights, prefix.replace(".", r"\.") + r"layers\.(\d+)\..*"))
    depths = [count(weights, prefix.replace(".", r"\.") + rf"layers\.{i}\.blocks\.(\d+)\..*") for i in stages]
    options = {
        "embed_dim": len(weights[f"{prefix}patch_embed.proj.weight"]),
        "depths": depths,
        "num_heads": [weights[table.format(i)].shape[1] for i in stages],
    }
    return {"architecture": "swin_tiny_patch4_window7_224", "options": options}


def _is_window(index: Tensor) -> bool:
    """Whether a table says of each pair of places in a square window how far apart they are."""
    side = round(len(index) ** 0.5)
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    apart = places[:, None] - places[None] + side - 1
    return torch.equal(index, apart[..., 0] * (2 * side - 1) + apart[..., 1])


# Which entry of the table of places each pair of them reads: a buffer of older versions of transformers.
SWIN_EXTRAS = {r".*\.relative_position_index": _is_window}
