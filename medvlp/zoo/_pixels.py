"""From another project's words about preprocessing to a view of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlp.core.errors import DataError

OPENAI: tuple[list[float], list[float]] = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
IMAGENET: tuple[list[float], list[float]] = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_by_processor(
    settings: Mapping[str, Any], *, preset: str
) -> tuple[dict[str, object], list[float], list[float]]:
    """Return the view ``read``, mean and std that a ``preprocessor_config.json`` of transformers describes.

    Raises:
        DataError: if it describes what no view of ours does.
    """
    asked: Any = settings.get("size", 224)
    if settings.get("do_resize", True) is False or settings.get("do_rescale", True) is False:
        raise DataError("preprocessor_config.json neither resizes nor rescales: its pixels cannot be made of a file.")
    number = settings.get("resample", 3)
    if number not in _FILTERS:
        raise DataError(f"preprocessor_config.json resamples by Pillow's filter {number}: 1, 2 and 3 are known here.")
    view: dict[str, object] = {"name": "read", "preset": preset, "bits": 8, "resample": _FILTERS[number]}
    if isinstance(asked, Mapping) and "height" in asked:
        sides = (int(asked["height"]), int(asked["width"]))
        if sides[0] != sides[1] or settings.get("do_center_crop"):
            raise DataError(f"preprocessor_config.json squeezes to {sides} and cuts: only a square is known here.")
        view |= {"size": sides[0], "fit": "squeeze"}
    else:
        short = int(asked["shortest_edge"] if isinstance(asked, Mapping) else asked)
        cut: Any = settings.get("crop_size", short) if settings.get("do_center_crop", True) else short
        cut = int(cut["height"] if isinstance(cut, Mapping) else cut)
        view |= {"size": cut, "fit": "crop_floor", "resize": short}
    normal = settings.get("do_normalize", True)
    mean, std = (list(map(float, settings.get(k, d))) if normal else [e] for k, d, e in (
        ("image_mean", OPENAI[0], 0.0), ("image_std", OPENAI[1], 1.0)))  # fmt: skip
    return view, mean, std
