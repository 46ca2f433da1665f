"""What the page is told of a picture or a volume: how to paint, measure and hang it, and how it was made."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np

from medvlp.io.color import MADE_GRAY
from medvlp.io.frame_values import Frame
from medvlp.io.lut import percentile_range
from medvlp.io.slices import UNITS
from medvlp.io.stored_volume import StoredVolume
from medvlp.io.volume import Volume
from medvlp.io.volume_display import AIR_BELOW

#: name, centre, width in HU: OHIF's, which are the viewers' custom.
CT_WINDOWS = (
    ("soft tissue", 40, 400),
    ("lung", -600, 1500),
    ("liver", 90, 150),
    ("bone", 480, 2500),
    ("brain", 40, 80),
)
_FACTS = {
    "Modality": "modality", "ViewPosition": "view", "BodyPartExamined": "part", "Manufacturer": "maker",
    "PresentationIntentType": "intent", "BitsStored": "bits", "Format": "format",
    "DataType": "stored as", "RecommendedDisplayFrameRate": "frames a second", "CineRate": "cine, frames a second",
    "FrameTime": "frame time, ms",
}  # fmt: skip


def frame_document(frames: list[Frame]) -> dict[str, Any]:
    """Return the document of pictures of one size."""
    first = frames[0]
    rows, columns = first.values.shape
    return {
        "kind": "image", "rows": rows, "columns": columns, "count": len(frames), "spacing": first.spacing,
        "spacing_kind": first.spacing_kind, "unit": first.unit,
        "photometric": first.photometric, "hanging": first.hanging.words, "facts": _facts(first.meta),
        "steps": first.steps, "warnings": _notes(frames), "frames": [_paint(frame) for frame in frames],
    }  # fmt: skip


def _paint(frame: Frame) -> dict[str, Any]:
    return {
        "lo": frame.lo, "hi": frame.hi, "signed": frame.values.dtype == np.int16, "padding": frame.padding,
        "slope": frame.slope, "intercept": frame.intercept, "inverted": frame.inverted,
        "windows": [*frame.windows, *_general(frame)],
        "coloured": frame.rgb is not None, "curve": base64.b64encode(frame.curve.tobytes()).decode(),
        "edges": frame.edges, "marker": frame.marker, "spacing": frame.spacing, "spacing_kind": frame.spacing_kind,
        "unit": frame.unit,
    }  # fmt: skip


def _general(frame: Frame) -> list[tuple[str, float, float, str]]:
    """Windows by what a picture holds, behind those that its file brings: most files bring one or none."""
    few = frame.values[:: max(1, len(frame.values) // 512), :: max(1, frame.values.shape[1] // 512)]
    values = few[few != frame.padding] if frame.padding is not None else few.ravel()
    if frame.rgb is not None or not len(values):
        return []
    ends = ((share, percentile_range(values, share, 100 - share)) for share in (0.5, 5))
    return [_between(share, *sorted(x * frame.slope + frame.intercept for x in both)) for share, both in ends]


def _between(share: float, low: float, high: float) -> tuple[str, float, float, str]:
    """Window of values of any step: LINEAR's is one step of a whole number wider, all of a map of diffusivity."""
    width = high - low or 1.0
    return f"{share:g} to {100 - share:g} %", low + width / 2, width, "LINEAR_EXACT"


def _notes(frames: list[Frame]) -> list[str]:
    notes = dict.fromkeys(note for frame in frames for note in frame.warnings)
    if notes.pop(MADE_GRAY, 0) is None:
        notes["the picture is coloured: a model is shown its luma"] = None
    return list(notes)


def _facts(meta: dict[str, str | int | float]) -> dict[str, str | int | float]:
    facts = {name: meta[tag] for tag, name in _FACTS.items() if meta.get(tag) not in (None, "")}
    return facts | ({"compression": "lossy"} if meta.get("LossyImageCompression") == "01" else {})


def volume_document(volume: Volume, stored: StoredVolume) -> dict[str, Any]:
    """Return the document of a volume; its first window is the file's own, else one that fits what it holds."""
    slices, rows, columns = stored.values.shape
    there: Any = True if stored.missing is None else stored.values != stored.missing
    few = stored.values[:, :: max(1, rows // 128), :: max(1, columns // 128)]  # of all slices, as any may be hot
    values = (few if stored.missing is None else few[few != stored.missing]) * stored.slope + stored.intercept
    modality, unit = volume.meta.get("Modality"), volume.meta.get("Units", "HU")
    hounsfield = unit == "HU" and (modality == "CT" or (modality is None and bool((values < AIR_BELOW).any())))
    unit = "HU" if hounsfield else unit if unit in UNITS and unit not in ("HU", "US") else ""  # US: unspecified
    windows = [(name, centre, width, "LINEAR") for name, centre, width in CT_WINDOWS] if hounsfield else []
    function = str(volume.meta.get("VOILUTFunction", "LINEAR"))
    written = [part.split("/") for part in str(volume.meta.get("Windows", "")).split(", ") if "/" in part]
    own = [(f"window {n}" if n else "file", float(c), float(w), function) for n, (c, w) in enumerate(written)]
    wide = [_between(0.5, *percentile_range(values, 0.5, 99.5))]
    geometry: dict[str, Any] = {} if volume.geometry is None else dataclasses.asdict(volume.geometry)
    geometry.pop("series", None)
    notes = list(volume.warnings)
    if geometry.get("made"):
        notes.append(f"slices interpolated where the files have none: {geometry['made']}")
    if geometry.get("tilt", 0) > 0.1:
        notes.append(f"the gantry was tilted by {geometry['tilt']:.1f} degrees: planes are sheared as acquired")
    if stored.oblique > 1:
        notes.append(f"oblique: the planes are {stored.oblique:.0f} degrees off the patient's axes")
    if stored.error:
        notes.append(f"values are shown in steps of {stored.slope:.3g}")
    return {
        "kind": "volume", "rows": rows, "columns": columns, "count": slices, "spacing": stored.spacing,
        "spacing_kind": "calibrated", "unit": unit, "marker": "", "photometric": "",
        "hanging": "", "facts": _facts(volume.meta), "steps": volume.steps, "warnings": list(dict.fromkeys(notes)),
        "geometry": geometry, "affine": stored.affine.round(6).tolist(),
        "slope": stored.slope, "intercept": stored.intercept,
        "lo": (lo := int(stored.values.min())), "hi": int(stored.values.max(where=there, initial=lo)),
        "padding": stored.missing,
        "windows": [each for each in (*own, *windows, *wide) if each[2] >= 1 or (each[2] > 0 and each[3] != "LINEAR")],
    }  # fmt: skip
