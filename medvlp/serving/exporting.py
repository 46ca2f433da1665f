"""From what the page shows to what `exports` writes: the picture as it is stored, findings, and a map laid over it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from PIL import Image as Pillow

from medvlp.core.errors import UserError
from medvlp.io.frame_values import Frame
from medvlp.io.stored_volume import StoredVolume
from medvlp.models.card import SYNTHETIC
from medvlp.serving.exports.shown import Category, Finding, Layer, Shown
from medvlp.serving.studies import Series


def frames_of(series: Series) -> tuple[Frame, ...]:
    """Return the frames of a series that can be exported.

    Raises:
        UserError: it is a volume.
    """
    if isinstance(series.content, StoredVolume):
        raise UserError("A volume is not exported: open a radiograph.")
    return series.content


def shown_of(
    series: Series, *, frame: int, window: Sequence[Any] | None, model: Mapping[str, Any],
    found: Mapping[str, Any] | None, mapped: tuple[str, Mapping[str, Any]] | None,
) -> Shown:  # fmt: skip
    """Return what is exported.

    Args:
        series: of the study.
        frame: which one is looked at.
        window: centre, width and VOI LUT Function in force; None for the file's own display.
        model: as `Reader.describe` tells it.
        found: of `Reader.findings`; None where no model spoke.
        mapped: finding and map of `Reader.where`, where one is shown.

    Raises:
        UserError: it is a volume, or there is no such frame.
    """
    frames = frames_of(series)
    if type(frame) is not int or not 0 <= frame < len(frames):
        raise UserError(f"There is no frame {frame!r}: the series has {len(frames)}.")
    picture = frames[frame]
    try:
        pixels = picture.painted(None if window is None else (float(window[0]), float(window[1]), str(window[2])))
    except (TypeError, ValueError, LookupError):
        raise UserError(f"{window} is no window: give null, or [centre, width, VOI LUT Function].") from None
    rows = found["findings"] if found else []
    points = {row["evidence"]["operating_point"] for row in rows if row.get("evidence")} - {None}
    refused = (found or {}).get("refused")
    tall, wide = picture.spacing or (1, 1)
    return Shown(
        pixels=picture.hanging.undo(pixels),
        findings=tuple(_finding(row) for row in rows),
        model=str(model["name"]),
        model_hash=str(model["hash"]),
        preset=str(model["preset"] or ""),
        operating_point=", ".join(sorted(points)) or "the bundle's thresholds",
        source=series.headers[frame],
        layer=None if mapped is None else _layer(picture, *mapped),
        refused=refused["sentence"] if refused else "",
        hanging=picture.hanging,
        synthetic=bool(model["synthetic"]),
        aspect=tall / wide,
        warnings=tuple(each for each in (found or {}).get("warnings", ()) if each != SYNTHETIC),  # which `synthetic` is
    )


def _finding(row: Mapping[str, Any]) -> Finding:
    category = row["category"] if row["category"] in get_args(Category) else "uncalibrated"
    side = row["side"] if row["side"] in ("left", "right") else ""
    return Finding(row["finding"], category, row["probability"], row["threshold"], row["sentence"], side)


def _layer(picture: Frame, finding: str, found: Mapping[str, Any]) -> Layer:
    """Lay a grid over its box of the hung picture, as the page does, and turn it to how the picture is stored."""
    grid = np.frombuffer(base64.b64decode(found["values"]), np.uint8).reshape(found["rows"], found["columns"])
    high, wide = picture.values.shape
    x0, y0, x1, y1 = found["box"]
    # Of each pixel of the picture, where it lies in the grid; what lies outside of the box is 0.
    across, down = (x1 - x0) / found["columns"], (y1 - y0) / found["rows"]
    affine = (1 / across, 0, -x0 / across, 0, 1 / down, -y0 / down)
    laid = Pillow.fromarray(grid).transform((wide, high), Pillow.Transform.AFFINE, affine, Pillow.Resampling.BILINEAR)
    return Layer(finding, picture.hanging.undo(np.asarray(laid, np.float32) / 255), str(found["method"]))
