"""M3D-CLIP: a transformer over blocks of voxels and BERT, for CT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._folder import folder_at, weights_in
from medvlp.zoo._keys import MONAI_VIT, Rules, count, under, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

_IMAGE, _TEXT = "vision_encoder.", "language_encoder."
_EMBED = f"{_IMAGE}patch_embedding.patch_embeddings.1."
_SIZE, _PATCH = (32, 256, 256), (4, 16, 16)
_RULES: Rules = [
    *under(_EMBED, [("(.*)", r"\1")], "towers.stack.embed."),
    *under(_IMAGE, [*MONAI_VIT, ("cls_token", "cls_token")], "towers.stack."),
    *under(_TEXT, [("(.*)", r"\1")], "towers.text.backbone."),
    (r"mm_vision_proj\.(.*)", r"heads.stack/raw.output.\1"),
    (r"mm_language_proj\.(.*)", r"heads.text/raw.output.\1"),
    ("logit_scale", "logit_scale.log_scale"),
]
_RELEASE = Release(
    title="M3D-CLIP",
    citation="Bai et al. 2024, arXiv 2404.00578.",
    about="The code is MIT; its training data, CT of Radiopaedia with captions, is for non-commercial use.",
    recipe="ct_clip_v1",
)


def m3d_clip(
    *,
    source: Annotated[Path, FromModel("source")],
    tokenizer: str | None = None,
    low: float = -160.0,
    high: float = 240.0,
) -> Bundle:
    """Import M3D-CLIP.

    Args:
        source: its folder, or hub name, or a file of its weights.
        tokenizer: folder or hub name of BERT's tokenizer; None: the source, where it is a folder.
        low: HU that is shown black; the release was trained on pictures in whatever window their authors chose.
        high: HU that is shown white.

    Raises:
        UserError: if a file cannot be read, or no tokenizer is given with a file.
        DataError: if the weights are another model.
    """
    place = None if source.is_file() else folder_at(source)
    file = source if place is None else weights_in(place)
    unused = {**BERT_EXTRAS, re.escape(_TEXT) + r"pooler\..*": None}
    weights, left = without(read_checkpoint(file), unused)
    beside = tokenizer or (None if place is None else str(place))
    hub = "google-bert/bert-base-uncased"
    config, words = bert_and_words(weights, _TEXT, beside, title="M3D-CLIP", hub=hub, length=128)
    joint, width = weights["mm_vision_proj.weight"].shape
    hidden = len(weights[f"{_IMAGE}blocks.0.mlp.linear1.weight"])
    weights[f"{_EMBED}weight"] = weights[f"{_EMBED}weight"].reshape(width, 1, *_PATCH)
    # Its factor multiplies as it is; ours is kept as a logarithm.
    weights["logit_scale"] = weights["logit_scale"].clamp(min=1e-6).log()
    layers = count(weights, re.escape(_IMAGE) + r"blocks\.(\d+)\..*")
    sizes = {"width": width, "layers": layers, "heads": max(1, width // 64), "hidden": hidden}
    plain = {"name": "projection", "bias": True, "width": joint}
    spec = {
        "name": "dual",
        "vision": {"name": "volume_vit", "size": list(_SIZE), "patch": list(_PATCH), **sizes},
        "text": {"name": "transformers", "config": config, "pool": "cls"},
        "embed_dim": joint,
        "heads": {"stack/raw": plain, "text/raw": plain},
    }
    view = {"name": "read_grid", "size": list(_SIZE[::-1]), "spacing": None, "codes": "LPS", "low": low, "high": high}
    return imported(
        spec,
        weights,
        _RULES,
        importer="m3d_clip",
        source=file,
        release=_RELEASE,
        read=[view],
        tokenizer=words,
        facts={"left_out": left},
        limits=(
            f"Volumes are shown from {low:g} to {high:g} HU; the release was trained on pictures in unknown windows, "
            "whose slices may have run the other way. It publishes no prompts: those of CT-CLIP stand in."
        ),
    )
