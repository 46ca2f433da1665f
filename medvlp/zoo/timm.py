"""Plain towers of timm, and of torchvision where its names are timm's (ResNet, DenseNet): a file, or a timm folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from medvlp.core.errors import DataError, UserError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.zoo._folder import folder_at, settings_in, weights_in
from medvlp.zoo._keys import without
from medvlp.zoo._pixels import IMAGENET
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

_CLASSIFIER = r"(?:fc|head|classifier|head\.fc)\.(weight|bias)"
# Arguments of timm that are no option: the tower has names of its own for them, and drops no path where none learns.
_OWN = ("num_classes", "in_chans", "img_size", "global_pool", "drop_path_rate")
_TOWER = "towers.image.backbone."


def timm(
    *,
    source: Annotated[Path, FromModel("source")],
    architecture: str | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    labels: list[str] | None = None,
    exclusive: bool = False,
    title: str = "An image tower",
    licence: str = "",
    citation: str = "",
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import an image tower; with `labels` its last layer too, as the answer ``findings``.

    Args:
        source: a file of weights; a folder with timm's config.json, or its hub name.
        architecture: timm's name; of a folder its own.
        image_size: side in pixels; None: the architecture's.
        channels: of the first layer; None: the folder's, or 3.
        mean: subtracted from pixels in [0, 1]; None: the folder's, or what timm says of its own weights of the
            architecture (0.5 for many a ViT), or ImageNet's; the provenance tells which was taken.
        std: divided by; likewise.
        labels: names of the classifier's outputs, in their order; None: the classifier is left out.
        exclusive: whether they exclude each other (softmax).
        title: of the model, for its card.
        licence: of the weights, as their authors state it.
        citation: their paper.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if a file is missing or cannot be read, or no architecture is named.
        DataError: if the weights are not those of the architecture, or no view makes its pixels.
    """
    place = None if source.is_file() else folder_at(source)
    settings: dict[str, Any] = {} if place is None else settings_in(place)
    file = source if place is None else weights_in(place)
    name = architecture or settings.get("architecture")
    if name is None:
        raise UserError(f"{source} does not say what it is: give architecture=NAME, one of timm's (resnet50 ...).")
    # A folder of before 2023 says of pixels beside the name; what a folder leaves out is timm's own default.
    shown = {**_defaults(None if settings else str(name)), **settings.get("pretrained_cfg", settings)}
    # With what timm makes it; what has no weights of its own, such as an activation, stands nowhere else.
    made = dict(settings.get("model_args") or {})
    depth, *sides = shown.get("input_size") or (3, 224, 224)
    channels = channels or made.get("in_chans", depth)
    options = {key: value for key, value in made.items() if key not in _OWN}
    if image_size is None and len(set(sides)) > 1:
        raise DataError(f"{source} takes pictures of {sides}: only squares are read here.")
    side = image_size or int(sides[-1])
    tower = {
        "name": "timm",
        "architecture": name,
        "image_size": side,
        "channels": channels,
        "mean": _by_channel(mean or shown.get("mean", IMAGENET[0]), channels),
        "std": _by_channel(std or shown.get("std", IMAGENET[1]), channels),
        **({"pool": made["global_pool"]} if "global_pool" in made else {}),
        **({"options": options} if options else {}),
    }
    weights = dict(read_checkpoint(file, inside=("state_dict", "model")))
    left: list[str] = []
    if labels is None:
        weights, left = without(weights, {_CLASSIFIER: None})
    outputs = next((len(tensor) for name, tensor in weights.items() if re.fullmatch(_CLASSIFIER, name)), 0)
    if labels is not None and outputs not in (0, len(labels)):
        raise DataError(f"{file} tells {outputs} findings and labels has {len(labels)}: name each, in their order.")
    heads = {} if labels is None else {"image/findings": {"name": "linear", "classes": len(labels)}}
    rules = [(_CLASSIFIER, r"heads.image/findings.output.\1"), ("(.*)", rf"{_TOWER}\1")]
    asked = {"labels": labels, "part": "findings", "exclusive": exclusive}
    answers = [] if labels is None else [StoredAnswer("findings", "findings", asked, labels)]
    return imported(
        {"name": "vision", "vision": tower, "heads": heads},
        weights,
        rules,
        importer="timm",
        source=file,
        release=Release(title=title, licence=licence, citation=citation),
        read=[_view(shown, side, preset, known=bool(settings))],
        answers=answers,
        facts={"architecture": name, "left_out": left, "mean": tower["mean"], "std": tower["std"]},
        limits="Whoever converted it said what its pixels and its outputs are; nothing in the weights tells.",
    )


def _by_channel(values: Any, channels: int) -> list[float]:  # noqa: ANN401
    given = [float(each) for each in values]
    return given if len(given) in (1, channels) else [sum(given) / len(given)]


def _view(shown: Mapping[str, Any], side: int, preset: str, *, known: bool) -> dict[str, object]:
    """Return the view that brings a picture to its size as timm does; the nearest where nobody told how (a file).

    Raises:
        DataError: if a folder tells what no view of ours does.
    """
    crop, share = shown.get("crop_mode") or "center", float(shown.get("crop_pct") or 0.875)
    resample = shown.get("interpolation") or "bilinear"
    if known and (resample not in ("bicubic", "bilinear", "lanczos") or crop not in ("center", "squash")):
        raise DataError(
            f"Pictures are brought to their size by crop_mode {crop!r} and interpolation {resample!r}: center or "
            "squash, by bicubic, bilinear or lanczos, are known here."
        )
    if known and crop == "squash" and share != 1:
        raise DataError(f"Pictures are squashed and {share:g} of them cut out: only the whole (crop_pct 1) is read.")
    fit = {"fit": "crop", "resize": int(side / share)} if crop == "center" else {"fit": "squeeze", "resize": side}
    return {"name": "read", "size": side, "preset": preset, "resample": resample, **fit}


def _defaults(architecture: str | None) -> dict[str, Any]:
    """Return what timm says of its own weights of an architecture, or of any where None."""
    from timm.models import PretrainedCfg, get_pretrained_cfg, is_model

    if architecture is None:
        return PretrainedCfg().to_dict()
    found = get_pretrained_cfg(architecture) if is_model(architecture) else None
    return {} if found is None else found.to_dict()
