"""fVLM: a transformer over blocks of voxels, CXR-BERT, and a query an organ that reads that organ's tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import torch

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._keys import MONAI_VIT, Rules, count, under, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

_IMAGE, _TEXT, _TOWER = "visual_encoder.", "text_encoder.", "towers.stack."
_GRID = (7, 16, 11)  # blocks whose places it learnt; their number is all that the file tells
_ORGANS = ["lung", "heart", "esophagus", "aorta"]
_RULES: Rules = [
    *under(_IMAGE, [(r"patch_embedding\.patch_embeddings\.(.*)", r"embed.\1"), *MONAI_VIT], _TOWER),
    *under(_TEXT, [("(.*)", r"\1")], "towers.text.backbone."),
    (r"text_proj\.(.*)", r"heads.text/raw.output.\1"),
    ("query_tokens", "heads.stack/organs.queries"),
    (r"attention\.(.*)", r"heads.stack/organs.attention.\1"),
    (r"vision_projs\.(.*)", r"heads.stack/organs.output.\1"),
    ("temp", "logit_scale.log_scale"),
]
_UNUSED = {
    **BERT_EXTRAS,
    re.escape(_TEXT) + r"(cls|pooler)\..*": None,
    re.escape(_TEXT) + r"encoder\.layer\.\d+\.crossattention\..*": None,
    re.escape(_TEXT) + r"embeddings\.token_type_embeddings\.weight": None,  # its BERT adds none
}
_RELEASE = Release(
    title="fVLM",
    citation="Shui et al., ICLR 2025.",
    about="Trained on CT of the chest with reports, of one hospital (CT-RATE, which is not for commercial use).",
    recipe="fvlm_v1",
)


def fvlm(
    *,
    source: Annotated[Path, FromModel("source")],
    tokenizer: str | None = None,
    masks: str = "../organs/{name}.nii.gz",
) -> Bundle:
    """Import a checkpoint of fVLM.

    Its scores need the organs of each volume: a file of TotalSegmentator's task ``total`` (``--ml``), or masks of the
    manifest (``mask.lung``, ``mask.heart``, ``mask.esophagus``, ``mask.aorta``).

    Args:
        source: the ``.pth`` file.
        tokenizer: folder or hub name of the tokenizer of CXR-BERT.
        masks: where the organ file of a volume lies, as seen from the volume's folder; ``{name}`` is the volume's name
            less its ending.

    Raises:
        UserError: if the file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    weights, left = without(read_checkpoint(source, inside=("model",)), _UNUSED)
    embed = f"{_IMAGE}patch_embedding.patch_embeddings.weight"
    width, patch = len(weights[embed]), tuple(weights[embed].shape[2:])
    hidden, joint = len(weights[f"{_IMAGE}blocks.0.mlp.linear1.weight"]), len(weights["text_proj.weight"])
    words_width = weights[f"{_TEXT}embeddings.word_embeddings.weight"].shape[1]
    # It divides by its temperature as it is; ours is the logarithm of what multiplies.
    weights["temp"] = -weights["temp"].clamp(min=1e-6).log()
    weights[f"{_TEXT}embeddings.token_type_embeddings.weight"] = torch.zeros(2, words_width)
    hub = "microsoft/BiomedVLP-CXR-BERT-specialized"
    config, words = bert_and_words(weights, _TEXT, tokenizer, title="fVLM", hub=hub, length=384)
    sizes = {
        "size": [n * p for n, p in zip(_GRID, patch, strict=True)],
        "patch": list(patch),
        "width": width,
        "layers": count(weights, re.escape(_IMAGE) + r"blocks\.(\d+)\..*"),
        "heads": max(1, width // 64),
        "hidden": hidden,
    }
    spec = {
        "name": "dual",
        "vision": {"name": "organ_vit", "organs": len(_ORGANS), **sizes},
        "text": {"name": "transformers", "config": config, "pool": "cls"},
        "embed_dim": joint,
        "heads": {
            "stack/organs": {"name": "organ_queries", "organs": _ORGANS, "width": joint},
            "stack/raw": {"name": "identity", "reads": "organs", "mean": True},
            "text/raw": {"name": "projection", "bias": True, "width": joint},
        },
    }
    return imported(
        spec,
        weights,
        _RULES,
        importer="fvlm",
        source=source,
        release=_RELEASE,
        read=[{"name": "read_organs", "masks": masks}],
        tokenizer=words,
        facts={"left_out": left},
        limits=(
            "Nothing is said of a volume in which one of lung, heart, oesophagus and aorta was not segmented. The "
            "release has no embedding of a whole volume: what searches here compares the mean of its organs."
        ),
    )
