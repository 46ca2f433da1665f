"""The page of two presets compared: a table, and the images that they show most differently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.evaluation.drift import Drift, DriftMeasure
from medvlp.io.presets import preset_info
from medvlp.io.read import read_image
from medvlp.io.resize import resize_pad
from medvlp.pages.pictures import png_uri
from medvlp.pages.render import environment

__all__ = ["render_drift"]

_NAMES = {
    "difference": ("Mean absolute difference of pixels", "0 same, 1 black against white"),
    "correlation": ("Correlation of pixels", "1 same but for brightness and contrast"),
    "histogram": ("Distance of gray-value histograms", "Wasserstein, 0 same"),
    "cosine": ("Cosine of embeddings", "1 same to the model"),
}
_SHOWN, _EDGE = 4, 256


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    meaning: str
    measure: DriftMeasure


@dataclass(frozen=True, slots=True)
class _Pair:
    caption: str
    uris: tuple[str, str]


def render_drift(drift: Drift) -> str:
    """Return the page as HTML; the images on it are read again from their files, which must still be there.

    Raises:
        UnreadableImage: an image that was compared cannot be read any more.

    Example:
        >>> "a &lt;b&gt;" in render_drift(Drift(("dicom_voi_v1", "mimic_jpg_v1"), (), (), (), 0, ("a <b>",)))
        True
    """
    return (
        environment()
        .get_template("drift.html.jinja")
        .render(
            drift=drift,
            rows=[_Row(*_NAMES[row.measure], row) for row in drift.measures],
            presets=[preset_info(name) for name in drift.presets],
            pairs=_pairs(drift),
        )
    )


def _pairs(drift: Drift) -> list[_Pair]:
    worst = sorted(drift.cases, key=lambda case: -(case.values["histogram"] or 0.0))[:_SHOWN]
    pairs = []
    for case in worst:
        first, second = (_picture(case.path, name) for name in drift.presets)
        values = ", ".join(f"{name} {value:.3f}" for name, value in case.values.items() if value is not None)
        pairs.append(_Pair(values, (first, second)))
    return pairs


def _picture(path: str, preset: str) -> str:
    small = resize_pad(read_image(path, preset=preset).pixels, _EDGE).pixels
    return png_uri(np.rint(small * 255).astype(np.uint8))
