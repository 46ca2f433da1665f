"""Modality values of a volume to display values by a named preset: CT windows and MR percentiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import overload

import numpy as np

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage
from medvlp.io.lut import full_range, percentile_range
from medvlp.io.lut import window as voi_window
from medvlp.io.presets import FixedWindow, Percentiles, Preset, preset_info, volume_preset_names
from medvlp.io.volume import Volume

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
        UnreadableImage: ``preset_mismatch``, the volume is of another modality or in another unit.

    Example:
        >>> window(np.array([-1350.0, -600.0, 150.0]), "ct_lung_v1").tolist()
        [0.0, 0.5, 1.0]
    """
    recipe = volume_recipe(preset)
    values = volume.voxels if isinstance(volume, Volume) else np.asarray(volume)
    if isinstance(volume, Volume) and any(step.startswith(_STEP) for step in volume.steps):
        raise UserError(f"The volume holds display values already, {preset} needs modality values: give the one read.")
    notes = _uncertain(volume, recipe) if isinstance(volume, Volume) else []
    show, step = _shown_by(recipe, lambda: values)
    shown = np.empty(values.shape, np.float32)
    # Slice by slice: the work in float64 takes the memory of one slice, not of twice the volume.
    for part, result in zip(np.atleast_2d(values), np.atleast_2d(shown), strict=True):
        result[...] = show(part)
    shown[~np.isfinite(values)] = 0.0
    if not isinstance(volume, Volume):
        return shown
    if isinstance(recipe.curve, Percentiles) and not shown.any():
        notes.append("all voxels have the same value")
    if black := int(values.size - np.isfinite(values).sum()):
        notes.append(f"voxels that are not finite, shown black: {black}")
    steps, warnings = (*volume.steps, f"{_STEP}{preset}, {step}"), tuple(dict.fromkeys((*volume.warnings, *notes)))
    return replace(volume, voxels=shown, steps=steps, warnings=warnings)


def volume_recipe(preset: str) -> Preset:
    """Return a preset, which must be one for volumes; else a UserError."""
    recipe = preset_info(preset)
    if not isinstance(recipe.curve, FixedWindow | Percentiles):
        fitting = ", ".join(volume_preset_names())
        raise UserError(f"{preset} is a preset for 2D images, not for volumes: choose one of {fitting}.")
    return recipe


def ready_from(low: float, volume: Volume, *, view: str) -> Volume:
    """Return a volume for a view that shows `low` black: what is not finite becomes `low`.

    Below 0 it is in Hounsfield units: a volume of others is refused, or doubted in `warnings`, as `window` does it.
    """
    notes = _uncertain(volume, replace(preset_info("ct_lung_v1"), name=f"{view} from {low:g}")) if low < 0 else []
    voxels = np.where(np.isfinite(volume.voxels), volume.voxels, np.float32(low))
    return replace(volume, voxels=voxels, warnings=(*volume.warnings, *notes))


def curve_of(
    preset: str, *, meta: Mapping[str, object], values: Callable[[], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what `window` does to a volume, as a map of single slices of any shape; what is not finite becomes 0.

    `meta` is the volume's; `values` gives all its values, and is called only where percentiles are needed. Errors as
    `window`.
    """
    recipe = volume_recipe(preset)
    _refuse_mismatch(recipe, meta)
    curve, _ = _shown_by(recipe, values)

    def show(slices: np.ndarray) -> np.ndarray:
        shown = curve(slices).astype(np.float32)
        shown[~np.isfinite(slices)] = 0.0
        return shown

    return show


def unit_warnings(recipes: Iterable[Preset], modality: str, *, has_air: Callable[[], bool]) -> list[str]:
    """Return a warning where a CT window shows what may be no Hounsfield units: of no modality, without air.

    `has_air` tells whether a value is below `AIR_BELOW`, and is called only where that matters.
    """
    if modality or not any(isinstance(recipe.curve, FixedWindow) for recipe in recipes) or has_air():
        return []
    return [f"no value is below {AIR_BELOW:g}, where air lies: these may not be Hounsfield units"]


def _shown_by(recipe: Preset, values: Callable[[], np.ndarray]) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Return modality values -> float64 in [0, 1], and the same in words; `values` gives what percentiles are of."""
    curve = recipe.curve
    if isinstance(curve, FixedWindow):
        return (lambda part: voi_window(part, curve.center, curve.width, "LINEAR_EXACT")), curve.words
    assert isinstance(curve, Percentiles)
    low, high = percentile_range(values(), curve.low, curve.high)
    step = f"percentiles {curve.low:g} ({low:g}) to {curve.high:g} ({high:g})"
    return (lambda part: full_range(part, low, high)), step


def _refuse_mismatch(recipe: Preset, meta: Mapping[str, object]) -> None:
    modality, unit = str(meta.get("Modality", "")), str(meta.get("Units", "HU"))
    if modality and modality not in recipe.modalities:
        raise UnreadableImage(
            "preset_mismatch",
            detail=f"{recipe.name} is for Modality {' or '.join(recipe.modalities)}, its Modality is {modality}",
        )
    if isinstance(recipe.curve, FixedWindow) and unit != "HU":
        raise UnreadableImage(
            "preset_mismatch", detail=f"{recipe.name} is for Hounsfield units, the unit of its values is {unit}"
        )


def _uncertain(volume: Volume, recipe: Preset) -> list[str]:
    _refuse_mismatch(recipe, volume.meta)
    modality = str(volume.meta.get("Modality", ""))
    notes = unit_warnings([recipe], modality, has_air=lambda: not (volume.voxels >= AIR_BELOW).all())
    if isinstance(recipe.curve, Percentiles) and any(step.startswith("padding: ") for step in volume.steps):
        notes.append("the file names a padding value, and voxels of padding count for the percentiles")
    return notes
