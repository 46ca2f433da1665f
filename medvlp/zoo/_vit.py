"""Vision transformers of other libraries as timm's: sizes, activation, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.zoo._keys import Rules, count

_BASE = {
    "clip": "vit_base_patch16_clip_quickgelu_224",
    "siglip": "vit_base_patch16_siglip_224",
    "plain": "vit_base_patch16_224",
}
_EPS = {"clip": 1e-5, "siglip": 1e-6, "plain": 1e-6}
# Names of activations: transformers' or open_clip's -> timm's. They share names and shapes of weights, not values.
_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_tanh": "gelu_tanh"}

# transformers' CLIP and SigLIP towers; their query, key and value are one with us.
HF_VISION: Rules = [
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (r"embeddings\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
    (r"pre_layrnorm\.(.*)", r"norm_pre.\1"),
    (r"post_layernorm\.(.*)", r"norm.\1"),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.(\d+)\.self_attn\.qkv\.(.*)", r"blocks.\1.attn.qkv.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.(.*)", r"blocks.\1.mlp.\2"),
    (r"head\.probe", "attn_pool.latent"),
    (r"head\.attention\.(q|kv)\.(.*)", r"attn_pool.\1.\2"),
    (r"head\.attention\.out_proj\.(.*)", r"attn_pool.proj.\1"),
    (r"head\.layernorm\.(.*)", r"attn_pool.norm.\1"),
    (r"head\.mlp\.(.*)", r"attn_pool.mlp.\1"),
]


def plain_vit(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return architecture and options of timm's plain ViT under a prefix; heads are 64 wide, as of every such tower.

    Raises:
        KeyError: if there is none.
    """
    width = weights[f"{prefix}pos_embed"].shape[-1]
    depth = count(weights, prefix.replace(".", r"\.") + r"blocks\.(\d+)\..*")
    sizes = {"embed_dim": width, "depth": depth, "num_heads": max(1, width // 64)}
    return {"architecture": _BASE["plain"], "options": sizes}


def vit(
    kind: Literal["clip", "siglip", "plain"],
    *,
    width: int,
    layers: int,
    heads: int,
    hidden: int,
    patch: int,
    image_size: int,
    activation: str,
    eps: float,
    mean: Sequence[float],
    std: Sequence[float],
    options: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """Return the specification of a timm tower: ``clip`` with class token and a first norm, ``siglip`` with a probe.

    Raises:
        DataError: for an activation or an epsilon that the kind does not have.
    """
    if activation not in _ACTIVATIONS or abs(eps / _EPS[kind] - 1) > 1e-6:
        raise DataError(
            f"The image tower has the activation {activation!r} and the epsilon {eps:g}; known here are "
            f"{', '.join(_ACTIVATIONS)} with {_EPS[kind]:g}: it is another architecture."
        )
    return {
        "name": "timm",
        "architecture": _BASE[kind],
        "image_size": image_size,
        "channels": 3,
        "mean": list(mean),
        "std": list(std),
        "options": {
            "patch_size": patch,
            "embed_dim": width,
            "depth": layers,
            "num_heads": heads,
            "mlp_ratio": (hidden + 0.5) / width,  # timm cuts decimals off
            "act_layer": _ACTIVATIONS[activation],
            **(options or {}),
        },
    }
