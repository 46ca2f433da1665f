"""Modality values of a volume to display values by a named preset: CT windows and MR percentiles."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import numpy as np

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage
from medvlp.io.lut import full_range, percentile_range
from medvlp.io.lut import window as voi_window
from medvlp.io.preset import FixedWindow, Percentiles, Preset
from medvlp.io.presets import preset_info, preset_names
from medvlp.io.volume import Volume

__all__ = ["window"]

_STEP = "values of interest: "
_AIR_BELOW = -200.0  # Hounsfield units; no tissue is as light, and no picture of a body is without air around or in it


@overload
def window(volume: Volume, preset: str) -> Volume: ...
@overload
def window(volume: np.ndarray, preset: str) -> np.ndarray: ...
def window(volume: Volume | np.ndarray, preset: str) -> Volume | np.ndarray:
    """Map modality values to display values in [0, 1], 1 = white.

    Args:
        volume: modality values (Hounsfield units for CT windows), as a volume or an array of any shape.
        preset: a CT window or ``mr_percentile_v1``; percentiles are those of the whole volume.

    Returns:
        float32 in [0, 1] of the same shape; of a ``Volume`` a volume that says in ``steps`` what was done and in
        ``warnings`` what had to be guessed. What is not finite becomes 0.

    Raises:
        UserError: the preset is unknown, or none for volumes, or the volume holds display values already.
        UnreadableImage: ``preset_mismatch``, the volume is of another modality.

    Example:
        >>> window(np.array([-1350.0, -600.0, 150.0]), "ct_lung_v1").tolist()
        [0.0, 0.5, 1.0]
    """
    recipe = preset_info(preset)
    if not isinstance(recipe.curve, FixedWindow | Percentiles):
        fitting = [name for name in preset_names() if isinstance(preset_info(name).curve, FixedWindow | Percentiles)]
        raise UserError(f"{preset} is a preset for 2D images, not for volumes: choose one of {', '.join(fitting)}.")
    if not isinstance(volume, Volume):
        return _apply(np.asarray(volume), recipe.curve)[0]
    if any(step.startswith(_STEP) for step in volume.steps):
        raise UserError(f"The volume holds display values already, {preset} needs modality values: give the one read.")
    notes = _doubts(volume, recipe)
    voxels, step = _apply(volume.voxels, recipe.curve)
    if isinstance(recipe.curve, Percentiles) and not voxels.any():
        notes.append("all voxels have the same value")
    if black := int(volume.voxels.size - np.isfinite(volume.voxels).sum()):
        notes.append(f"{black} voxels are not finite: shown black")
    return replace(
        volume,
        voxels=voxels,
        steps=(*volume.steps, f"{_STEP}{preset}, {step}"),
        warnings=tuple(dict.fromkeys((*volume.warnings, *notes))),
    )


def _doubts(volume: Volume, recipe: Preset) -> list[str]:
    modality = str(volume.meta.get("Modality", ""))
    if modality and modality not in recipe.modalities:
        raise UnreadableImage(
            "preset_mismatch",
            detail=f"{recipe.name} is for Modality {' or '.join(recipe.modalities)}, its Modality is {modality}",
        )
    if modality or not isinstance(recipe.curve, FixedWindow) or not (volume.voxels >= _AIR_BELOW).all():
        return []
    return [f"no value is below {_AIR_BELOW:g}, where air lies: these may not be Hounsfield units"]


def _apply(values: np.ndarray, curve: FixedWindow | Percentiles) -> tuple[np.ndarray, str]:
    if isinstance(curve, FixedWindow):
        low, high, step = 0.0, 0.0, curve.words
    else:
        low, high = percentile_range(values, curve.low, curve.high)
        step = f"percentiles {curve.low:g} ({low:g}) to {curve.high:g} ({high:g})"
    shown = np.empty(values.shape, np.float32)
    # Slice by slice: the work in float64 takes the memory of one slice, not of twice the volume.
    for part, result in zip(np.atleast_2d(values), np.atleast_2d(shown), strict=True):
        if isinstance(curve, FixedWindow):
            result[...] = voi_window(part, curve.center, curve.width, "LINEAR_EXACT")
        else:
            result[...] = full_range(part, low, high)
    shown[~np.isfinite(values)] = 0.0
    return shown, step
