"""From another project's words about preprocessing to a view of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError
from medvlp.zoo._folder import settings_in

OPENAI: tuple[list[float], list[float]] = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
IMAGENET: tuple[list[float], list[float]] = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
Pixels = tuple[dict[str, object], list[float], list[float]]
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_by_processor(place: Path, *, preset: str) -> Pixels:
    """Return the view ``read``, mean and std that a folder of transformers describes.

    That is its ``preprocessor_config.json``, or what transformers 5 writes into ``processor_config.json`` instead.

    Raises:
        UserError: if there is none.
        DataError: if it describes what no view of ours does.
    """
    settings, name = _processor_in(place)
    try:
        return _described(settings, name, preset)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{name} of {place} does not say what a processor of pictures needs ({error}).") from None


def _described(settings: Mapping[str, Any], name: str, preset: str) -> Pixels:
    resizes, rescales = settings.get("do_resize", True), settings.get("do_rescale", True)
    if resizes is False or rescales is False:
        raise DataError(f"{name} does not resize, or does not rescale: its pixels cannot be made of a file.")
    factor = settings.get("rescale_factor", 1 / 255)
    if abs(float(factor) * 255 - 1) > 1e-6:
        raise DataError(f"{name} multiplies pixels of 0 to 255 by {factor:g}: only 1/255 is known here.")
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "CLIP")
    plain = kind.startswith(("CLIP", "Bit"))  # what they leave out is as of OpenAI's CLIP
    needed = ("size", "resample", *(("image_mean", "image_std") if settings.get("do_normalize", True) else ()))
    lacking = [key for key in needed if key not in settings]
    if lacking and not plain:
        raise DataError(f"{name} does not say {', '.join(lacking)}, and what {kind} takes then is not known here.")
    number = settings.get("resample", 3)
    if number not in _FILTERS:
        raise DataError(f"{name} resamples by Pillow's filter {number}: 1, 2 and 3 are known here.")
    view: dict[str, object] = {"name": "read", "preset": preset, "bits": 8, "resample": _FILTERS[number]}
    view |= _sides(settings, name, plain=plain)
    normal = settings.get("do_normalize", True)
    mean, std = (list(map(float, settings.get(k, d))) if normal else [e] for k, d, e in (
        ("image_mean", OPENAI[0], 0.0), ("image_std", OPENAI[1], 1.0)))  # fmt: skip
    return view, mean, std


def _processor_in(place: Path) -> tuple[Mapping[str, Any], str]:
    """Return what a folder says of pixels, and in which file; transformers 5 prefers the newer one too."""
    newer, older = "processor_config.json", "preprocessor_config.json"
    if (place / newer).is_file():
        inner = settings_in(place, newer).get("image_processor")
        if isinstance(inner, Mapping):
            return inner, newer
    return settings_in(place, older), older


def _sides(settings: Mapping[str, Any], name: str, *, plain: bool) -> dict[str, object]:
    """Return how a picture is brought to its size, as options of the view ``read``."""
    asked: Any = settings.get("size", 224)
    size = {k: v for k, v in asked.items() if v is not None} if isinstance(asked, Mapping) else {}
    if not size:  # a number, as of older files
        size = {"shortest_edge": asked} if plain else {"height": asked, "width": asked}
    cuts = settings.get("do_center_crop", plain)
    given: Any = settings.get("crop_size", size.get("shortest_edge", 224))
    cut = dict(given) if isinstance(given, Mapping) else {"height": given, "width": given}
    if size.keys() == {"height", "width"} and size["height"] == size["width"] and (not cuts or cut == size):
        return {"size": int(size["height"]), "fit": "squeeze"}
    if size.keys() == {"shortest_edge"} and cuts and cut["height"] == cut["width"]:
        return {"size": int(cut["height"]), "fit": "crop_floor", "resize": int(size["shortest_edge"])}
    raise DataError(
        f"{name} brings a picture to {size}{f' and cuts {cut} out of it' if cuts else ''}: squeezed to a square, or a "
        "square cut out of it at its shortest edge, is what is known here."
    )
