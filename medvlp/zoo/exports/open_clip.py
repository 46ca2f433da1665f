"""A folder that open_clip reads: ``open_clip.create_model("local-dir:FOLDER")``; CLIP with a causal text tower."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.files import write_json
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo import open_clip as clip
from medvlp.zoo.exports._export import (
    SIZES,
    ends_of,
    not_held,
    only_read,
    plain_tower,
    refuse_pooling,
    with_channels,
    write_pair,
)

_FITS = {"crop": "shortest", "squeeze": "squash"}


def open_clip(
    *, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]
) -> list[str]:
    """Write CLIP in open_clip's layout.

    What the form cannot hold is returned, a phrase each.
    """
    tower = plain_tower(bundle, "open_clip's form")
    model: Any = bundle.model
    options: dict[str, Any] = dict(tower.get("options") or {})
    text: dict[str, Any] = dict(model.spec.get("text", {}).get("config") or {})
    clip_like = tower["architecture"] == "vit_base_patch16_clip_quickgelu_224" and options.keys() >= SIZES
    if not clip_like or text.get("model_type") != "clip_text_model":
        raise UserError(
            f"open_clip's form has no place for {tower['architecture']!r} with the text tower "
            f"{text.get('model_type')!r}: CLIP with a causal text tower, as the importers of it make it, goes there; "
            "others go to timm or onnx."
        )
    refuse_pooling(bundle, "open_clip's form", pool="last")
    _, stop = ends_of(bundle, "open_clip's form")
    # By itself it takes the largest id for the end of a text.
    end = {} if stop == text["vocab_size"] - 1 else {"pool_type": "eos", "eos_id": stop}
    width, hidden = options["embed_dim"], int(options["embed_dim"] * options["mlp_ratio"])
    if text["hidden_act"] != options["act_layer"]:
        raise UserError("open_clip's form has one activation for both towers, and this model has two.")
    if text["layer_norm_eps"] != 1e-5:
        raise UserError(
            f"open_clip's form norms with the epsilon 1e-05, and the text tower with {text['layer_norm_eps']:g}: "
            "such a model goes to transformers or onnx."
        )
    settings = {
        "embed_dim": model.embed_dim,
        "quick_gelu": options["act_layer"] == "quick_gelu",
        "vision_cfg": {
            "image_size": tower["image_size"],
            "layers": options["depth"],
            "width": width,
            "patch_size": options["patch_size"],
            "head_width": width // options["num_heads"],
            "mlp_ratio": (hidden + 0.5) / width,  # open_clip cuts decimals off
            **({"pool_type": tower["pool"]} if tower.get("pool") else {}),
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
            "mlp_ratio": (text["intermediate_size"] + 0.5) / text["hidden_size"],
            "hf_tokenizer_name": "" if text["vocab_size"] == 49408 else ".",  # empty: CLIP's own; else the folder's
            **end,
        },
    }
    mean, std = with_channels(tower)
    view = only_read(bundle)
    plain = view.get("resize") in (None, view.get("size"))  # it cuts out of no larger picture
    fit = _FITS.get(str(view.get("fit")), "") if plain and view.get("resample") in ("bilinear", "bicubic") else ""
    shown = {"mean": mean, "std": std, **({"interpolation": view["resample"], "resize_mode": fit} if fit else {})}
    write_json(folder / "open_clip_config.json", {"model_cfg": settings, "preprocess_cfg": shown})
    like = _names(settings, hidden=hidden, inner=text["intermediate_size"])
    write_pair(bundle, folder / "open_clip_model.safetensors", like, clip.ours_of)
    return not_held(bundle, held=lambda head: head.endswith("/raw"), pixels=not fit)


def _names(settings: dict[str, Any], *, hidden: int, inner: int) -> dict[str, Tensor]:
    """Return the names and shapes of open_clip's layout."""
    vision, text, joint = settings["vision_cfg"], settings["text_cfg"], settings["embed_dim"]
    w, t, p = vision["width"], text["width"], vision["patch_size"]
    places = (vision["image_size"] // p) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (w,),
        "visual.positional_embedding": (places + 1, w),
        "visual.conv1.weight": (w, 3, p, p),
        "visual.proj": (w, joint),
        "token_embedding.weight": (text["vocab_size"], t),
        "positional_embedding": (text["context_length"], t),
        "text_projection": (t, joint),
        "logit_scale": (),
    }
    norms = {"visual.ln_pre": w, "visual.ln_post": w, "ln_final": t}
    for prefix, width, wide, layers in (("visual.", w, hidden, vision["layers"]), ("", t, inner, text["layers"])):
        for block in (f"{prefix}transformer.resblocks.{i}." for i in range(layers)):
            norms |= {f"{block}ln_1": width, f"{block}ln_2": width}
            shapes |= {
                f"{block}attn.in_proj_weight": (3 * width, width),
                f"{block}attn.in_proj_bias": (3 * width,),
                f"{block}attn.out_proj.weight": (width, width),
                f"{block}attn.out_proj.bias": (width,),
                f"{block}mlp.c_fc.weight": (wide, width),
                f"{block}mlp.c_fc.bias": (wide,),
                f"{block}mlp.c_proj.weight": (width, wide),
                f"{block}mlp.c_proj.bias": (width,),
            }
    shapes |= {f"{name}.{part}": (width,) for name, width in norms.items() for part in ("weight", "bias")}
    return {name: torch.empty(shape) for name, shape in shapes.items()}
