"""BioViL and BioViL-T (hi-ml): two files, the image model and the folder of CXR-BERT; one bundle.

The projection of a picture is made patch by patch and averaged then. BioViL-T compares with an earlier picture; without
one it reads a learnt vector instead, and so it stands here: its two halves and what follows become one linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._bert import BERT_EXTRAS, bert_config
from medvlp.zoo._folder import folder_at, settings_in, tokenizer_in, weights_in
from medvlp.zoo._keys import Rules, folded, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported, reworded, zero_shot

_RULES: Rules = [
    (r"encoder\.encoder\.(.*)", r"towers.image.backbone.\1"),
    (r"projector\.model\.0\.(.*)", r"heads.image/raw.hidden.0.\1"),
    (r"projector\.model\.3\.(.*)", r"heads.image/raw.output.\1"),
    (r"bert\.(.*)", r"towers.text.backbone.\1"),
    (r"cls_projection_head\.dense_to_hidden\.(.*)", r"heads.text/raw.hidden.0.\1"),
    (r"cls_projection_head\.LayerNorm\.(.*)", r"heads.text/raw.norms.0.\1"),
    (r"cls_projection_head\.dense_to_output\.(.*)", r"heads.text/raw.output.\1"),
]
# The classifier of ImageNet and the word head, which nothing reads; and what only a second picture needs.
_UNUSED = {r"encoder\.encoder\.fc\.(weight|bias)": None, r"cls\.predictions\..*": None}
_SECOND = {r"encoder\.vit_pooler\..*": None}
_CITED = {
    False: ("BioViL", "Boecking et al., ECCV 2022, arXiv 2204.09817."),
    True: ("BioViL-T", "Bannur et al., CVPR 2023, arXiv 2301.04558."),
}


def biovil(
    *, source: Annotated[Path, FromModel("source")], text: str | None = None, preset: str = "dicom_voi_v1"
) -> Bundle:
    """Import BioViL or BioViL-T; which of them it is, the file tells.

    Args:
        source: file of the image model.
        text: folder of its CXR-BERT (vocab.txt and weights), or its hub name, such as
            ``microsoft/BiomedVLP-CXR-BERT-specialized``.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if a file is missing or cannot be read.
        DataError: if the weights are another model.
    """
    if text is None:
        raise UserError(
            "BioViL is two files: give text=FOLDER with CXR-BERT beside the image model (BioViL: "
            "microsoft/BiomedVLP-CXR-BERT-specialized, BioViL-T: microsoft/BiomedVLP-BioViL-T)."
        )
    place = folder_at(Path(text))
    image, dropped = without(read_checkpoint(source), {**_UNUSED, **_SECOND})
    words, more = without(read_checkpoint(weights_in(place)), {**_UNUSED, **BERT_EXTRAS})
    temporal = "encoder.backbone_to_vit.weight" in image
    weights = _one_picture(image) if temporal else dict(image)
    weights = folded(weights, "projector.model.0", "projector.model.1") | words
    joint = len(weights["projector.model.0.weight"])
    beside = settings_in(place) if (place / "config.json").is_file() else {}
    config = bert_config(weights, "bert.", beside=beside)
    tokenizer = tokenizer_in(place, length=config["max_position_embeddings"], vocabulary=config["vocab_size"])
    size = 448 if temporal else 480
    tower = {"name": "timm", "architecture": "resnet50", "image_size": size, "channels": 3, "mean": [0.0], "std": [1.0]}
    heads = {
        "image/raw": {"name": "projection", "reads": "tokens", "hidden": joint, "bias": True, "mean": True},
        "text/raw": {
            "name": "projection",
            "hidden": joint,
            "norm": "layer_behind",
            "norm_eps": 1e-12,
            "activation": "gelu",
            "bias": True,
        },
    }
    spec = {
        "name": "dual",
        "vision": tower,
        "text": {"name": "transformers", "config": config, "pool": "cls"},
        "embed_dim": joint,
        "heads": heads,
        "scale": {"init": 1.0},  # no temperature is released: a cosine is a cosine
    }
    title, citation = _CITED[temporal]
    release = Release(title=title, licence="MIT", citation=citation, about="For research.", recipe="biovil_v1")
    view = {"name": "read", "size": size, "preset": preset, "fit": "crop", "resample": "bilinear", "resize": 512}
    return imported(
        spec,
        weights,
        _RULES,
        importer="biovil",
        source=source,
        release=release,
        read=[view],
        tokenizer=tokenizer,
        answers=[reworded(each, lambda text: text.rstrip(".!?")) for each in zero_shot(release)],
        facts={"left_out": [*dropped, *more]},
        limits=(
            "The release stretches the values of every file from its least to its greatest and reads DICOM without its "
            "display settings; here a file is read as a display shows it. It takes full stops off the end of a text: "
            "so do the prompts here, and you should of your own. "
            + ("An earlier picture is not looked at." if temporal else "")
        ),
    )


def _one_picture(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the map to tokens and the vector that stands for no earlier picture into the first projection."""
    held = dict(weights)
    tokens, missing, first = (held.pop(name) for name in (
        "encoder.backbone_to_vit.weight", "encoder.missing_previous_emb", "projector.model.0.weight"))  # fmt: skip
    inner = len(tokens)
    current, difference = first.reshape(len(first), -1).split([inner, first.shape[1] - inner], dim=1)
    held["projector.model.0.weight"] = current @ tokens.reshape(inner, -1)
    held["projector.model.0.bias"] = difference @ missing.reshape(-1)
    return held
