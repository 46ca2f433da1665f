"""Modality values of a volume to display values by a named preset: CT windows and MR percentiles."""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ["AIR_BELOW", "curve_of", "volume_recipe", "window"]

_STEP = "values of interest: "
AIR_BELOW = -200.0  # Hounsfield units; no tissue is as light, and no picture of a body is without air around or in it


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
    recipe = volume_recipe(preset)
    if not isinstance(volume, Volume):
        return _apply(np.asarray(volume), _curve(recipe))[0]
    if any(step.startswith(_STEP) for step in volume.steps):
        raise UserError(f"The volume holds display values already, {preset} needs modality values: give the one read.")
    notes = _doubts(volume, recipe)
    voxels, step = _apply(volume.voxels, _curve(recipe))
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


def volume_recipe(preset: str) -> Preset:
    """Return a preset, which must be one for volumes.

    Raises:
        UserError: the preset is unknown, or none for volumes.

    Example:
        >>> volume_recipe("ct_lung_v1").modalities
        ('CT',)
    """
    recipe = preset_info(preset)
    if not isinstance(recipe.curve, FixedWindow | Percentiles):
        fitting = [name for name in preset_names() if isinstance(preset_info(name).curve, FixedWindow | Percentiles)]
        raise UserError(f"{preset} is a preset for 2D images, not for volumes: choose one of {', '.join(fitting)}.")
    return recipe


def curve_of(preset: str, *, modality: str, values: Callable[[], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return what `window` does to a volume, as a map of single slices.

    Args:
        preset: a preset for volumes.
        modality: of the file; empty where it does not say.
        values: gives all values of the volume; called once, and only where percentiles are needed.

    Returns:
        modality values of any shape -> float32 in [0, 1]; what is not finite becomes 0.

    Raises:
        UserError: the preset is unknown, or none for volumes.
        UnreadableImage: ``preset_mismatch``, the volume is of another modality.

    Example:
        >>> lung = curve_of("ct_lung_v1", modality="CT", values=lambda: np.zeros(0))
        >>> lung(np.array([-1350.0, -600.0, np.nan])).tolist()
        [0.0, 0.5, 0.0]
    """
    recipe = volume_recipe(preset)
    _refuse_other_modality(recipe, modality)
    curve = _curve(recipe)
    low, high = (0.0, 0.0) if isinstance(curve, FixedWindow) else percentile_range(values(), curve.low, curve.high)

    def show(slices: np.ndarray) -> np.ndarray:
        shown = _shown(slices, curve, low, high).astype(np.float32)
        shown[~np.isfinite(slices)] = 0.0
        return shown

    return show


def _curve(recipe: Preset) -> FixedWindow | Percentiles:
    assert isinstance(recipe.curve, FixedWindow | Percentiles)
    return recipe.curve


def _shown(values: np.ndarray, curve: FixedWindow | Percentiles, low: float, high: float) -> np.ndarray:
    if isinstance(curve, FixedWindow):
        return voi_window(values, curve.center, curve.width, "LINEAR_EXACT")
    return full_range(values, low, high)


def _refuse_other_modality(recipe: Preset, modality: str) -> None:
    if modality and modality not in recipe.modalities:
        raise UnreadableImage(
            "preset_mismatch",
            detail=f"{recipe.name} is for Modality {' or '.join(recipe.modalities)}, its Modality is {modality}",
        )


def _doubts(volume: Volume, recipe: Preset) -> list[str]:
    modality = str(volume.meta.get("Modality", ""))
    _refuse_other_modality(recipe, modality)
    if modality or not isinstance(recipe.curve, FixedWindow) or not (volume.voxels >= AIR_BELOW).all():
        return []
    return [f"no value is below {AIR_BELOW:g}, where air lies: these may not be Hounsfield units"]


def _apply(values: np.ndarray, curve: FixedWindow | Percentiles) -> tuple[np.ndarray, str]:
    if isinstance(curve, FixedWindow):
        low, high, step = 0.0, 0.0, curve.words
    else:
        low, high = percentile_range(values, curve.low, curve.high)
        step = f"percentiles {curve.low:g} ({low:g}) to {curve.high:g} ({high:g})"
    shown = np.empty(values.shape, np.float32)
    # Slice by slice: the work in float64 takes the memory of one slice, not of twice the volume.
    for part, result in zip(np.atleast_2d(values), np.atleast_2d(shown), strict=True):
        result[...] = _shown(part, curve, low, high)
    shown[~np.isfinite(values)] = 0.0
    return shown, step
