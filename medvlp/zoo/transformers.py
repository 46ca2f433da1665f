"""CLIP and SigLIP in the form of transformers: a folder with config.json, weights, tokenizer and preprocessor.

PubMedCLIP (on the hub), RadCLIP, MedSigLIP, SigLIP 2 of a fixed size, and every other fine-tune of that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo._folder import folder_at, settings_in, tokenizer_in, weights_in
from medvlp.zoo._keys import Rules, fused, is_range, renamed, split_rows, under, without
from medvlp.zoo._open_clip_releases import RELEASES as OPEN_CLIP
from medvlp.zoo._pixels import read_by_processor
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported
from medvlp.zoo._vit import HF_VISION, vit

RELEASES = {
    "other": Release(title="A model of pairs"),
    "pubmedclip": OPEN_CLIP["pubmedclip"].release,
    "radclip": Release(
        title="RadCLIP",
        citation="Lu et al., arXiv 2403.09948.",
        about="CLIP ViT-L/14 fine-tuned on radiological images with captions; its slice adapter is not in the file.",
    ),
    "medsiglip": Release(
        title="MedSigLIP",
        licence="Health AI Developer Foundations terms of use",
        citation="MedGemma technical report, arXiv 2507.05201; SigLIP, Zhai et al., ICCV 2023, arXiv 2303.15343.",
        about="Who passes these weights on, converted or not, passes the terms on with them.",
        recipe="siglip_cxr_v1",
    ),
    "siglip": Release(title="SigLIP", citation="Zhai et al., ICCV 2023, arXiv 2303.15343.", recipe="siglip_cxr_v1"),
}

_RULES: Rules = [
    *under("vision_model.", HF_VISION, "towers.image.backbone."),
    (r"text_model\.(.*)", r"towers.text.backbone.\1"),
    (r"visual_projection\.weight", "heads.image/raw.output.weight"),
    (r"text_projection\.weight", "heads.text/raw.output.weight"),
    (r"logit_scale", "logit_scale.log_scale"),
    (r"logit_bias", "logit_scale.bias"),
]
_KNOWN = {r"(text|vision)_model\.embeddings\.position_ids": is_range}


def transformers(
    *,
    source: Annotated[Path, FromModel("source")],
    folder: str | None = None,
    release: Literal["other", "pubmedclip", "radclip", "medsiglip", "siglip"] = "other",
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import CLIP or SigLIP as transformers writes them.

    Args:
        source: a folder, a hub name, or a file of weights alone with `folder`.
        folder: with a file: where config.json, tokenizer and preprocessor_config.json of its architecture lie.
        release: whose weights they are, for licence, citation and recipe.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if a file is missing or cannot be read.
        DataError: if the weights are not those of the configuration, or it is another kind of model.
    """
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    place = folder_at(Path(folder) if folder is not None else source)
    file = source if folder is not None else weights_in(place)
    settings = settings_in(place)
    kind = settings.get("model_type")
    if kind not in ("clip", "siglip"):
        raise DataError(
            f"{place} holds a model of type {kind!r}, and this importer reads 'clip' and 'siglip': run "
            "`medvlp components zoo` for the others."
        )
    if release != "other" and ("siglip" in release) != (kind == "siglip"):
        raise DataError(f"{place} holds a model of type {kind!r}, unlike {RELEASES[release].title}: leave release out.")
    read, mean, std = read_by_processor(place, preset=preset)
    vision, text = _filled(settings, kind, place)
    weights, left = without(read_checkpoint(file, inside=("state_dict",)), _KNOWN)
    weights = _joined(weights)
    tower = vit(
        kind,
        width=vision["hidden_size"],
        layers=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        hidden=vision["intermediate_size"],
        patch=vision["patch_size"],
        image_size=vision["image_size"],
        activation=vision["hidden_act"],
        eps=vision["layer_norm_eps"],
        mean=mean,
        std=std,
    )
    if read["size"] != vision["image_size"]:
        raise DataError(
            f"The preprocessor of {place} makes {read['size']} pixels and config.json asks for "
            f"{vision['image_size']}: the two do not belong together."
        )
    words = tokenizer_in(place, length=text["max_position_embeddings"], vocabulary=text["vocab_size"])
    clip = kind == "clip"
    if not clip and str(get_tokenizer_config(place).get("tokenizer_class")).startswith("Gemma"):
        # SigLIP 2 was trained on small letters, and the tokenizer that its folder names leaves capitals.
        from transformers import Siglip2Tokenizer

        made = Siglip2Tokenizer.from_pretrained(place, local_files_only=True)
        words = TransformersTokenizer.of(made, max_length=words.max_length)
    end = text.get("eos_token_id", 2)
    if clip and end not in (2, words.stop_id):  # 2 stands for the largest id, as of older files
        raise DataError(
            f"config.json of {place} takes the id {end} for the end of a text, and its tokenizer writes "
            f"{words.stop_id} there: the two do not belong together."
        )
    spec = {
        "name": "dual",
        "vision": tower,
        "text": {
            "name": "transformers",
            "config": {"model_type": f"{kind}_text_model", **text},
            "pool": "last" if clip else "pooler",
            "fill": not clip,
        },
        "embed_dim": settings.get("projection_dim", 512) if clip else vision["hidden_size"],
        "projection": {"name": "projection" if clip else "identity"},
        "scale": {} if clip else {"bias": -10.0, "max": 1000.0},
    }
    return imported(
        spec,
        weights,
        _RULES,
        importer="transformers",
        source=file,
        release=RELEASES[release],
        read=[read],
        tokenizer=words,
        facts={"left_out": left},
    )


def ours_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names, in their own shapes."""
    return renamed(_joined(weights), _RULES)


def _joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    into = ((r"\1.q.\2", 1), (r"\1.kv.\2", 2))
    weights = fused(weights, r"(vision_model\..*\.self_attn)\.{q,k,v}_proj\.(.*)", r"\1.qkv.\2")
    return split_rows(weights, r"(vision_model\.head\.attention)\.in_proj_(.*)", into)


def _filled(settings: dict[str, Any], kind: str, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of both towers with every default, as transformers fills it in, plain values only."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    # Files of CLIP of 2022 say it in `..._config_dict`, which counts where there are both.
    given = {k: v for k, v in settings.items() if k in _PARTS[: 4 if kind == "clip" else 2]}
    try:
        full = AutoConfig.for_model(kind, **given)
        both = [
            {k: v for k, v in part.to_dict().items() if isinstance(v, bool | int | float | str) and k in _SIZES}
            for part in (full.vision_config, full.text_config)
        ]
    except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"config.json of {place} describes no model of type {kind!r} ({reason}).") from None
    if "image_size" not in both[0]:
        raise DataError(
            f"config.json of {place} takes pictures of {full.vision_config.image_size}: one number is known here."
        )
    return both[0], both[1]


_PARTS = ("text_config", "vision_config", "text_config_dict", "vision_config_dict")
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps",
    "image_size", "patch_size", "vocab_size", "max_position_embeddings", "eos_token_id", "bos_token_id", "pad_token_id",
    "projection_size",
)  # fmt: skip
