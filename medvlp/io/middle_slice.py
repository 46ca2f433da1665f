"""One picture of a volume: the slice across its middle, as a radiologist looks at an axial slice."""

from __future__ import annotations

from dataclasses import replace

from medvlp.io.image import Image
from medvlp.io.volume import Volume
from medvlp.io.volume_display import AIR_BELOW, window
from medvlp.io.volume_slices import slices_of

_USUAL = {"CT": "ct_mediastinum_v1", "MR": "mr_percentile_v1"}


def middle_axial(volume: Volume, preset: str) -> Image:
    """Return the axial slice in the middle of a volume (number n // 2 of n from the feet), in a preset's window.

    It is one of the volume's own planes, the nearest to axial, hung as `medvlp.io.VolumeSlices` hangs it. Nothing is
    resampled: an oblique volume stays oblique, and ``spacing`` may differ between axes. Percentiles are those of the
    whole volume.

    Raises:
        UserError: the preset is none for volumes.
        UnreadableImage: ``preset_mismatch``.
    """
    shown = window(volume, preset)
    slices = slices_of(shown, "axial")
    middle = len(slices) // 2
    step = f"picture: axial slice {middle} of {len(slices)} from the feet, patient's left at the right hand"
    return Image(
        pixels=slices.read([middle])[0], spacing=slices.spacing, spacing_kind="calibrated", meta=slices.meta,
        steps=(*shown.steps, step), warnings=shown.warnings,
    )  # fmt: skip


def usual_axial(volume: Volume) -> Image:
    """Return `middle_axial` in the preset which its values fit: CT's if they are Hounsfield units, else percentiles.

    Of a file that names no modality (NIfTI) values like those of air tell. Numbers of another modality (PET, NM,
    tomosynthesis) are shown by MR's percentiles, whatever they measure.
    """
    modality, unit = volume.meta.get("Modality"), volume.meta.get("Units", "HU")
    # Only CT has negative values like those of air.
    is_ct = unit == "HU" and (modality == "CT" or (not modality and bool((volume.voxels < AIR_BELOW).any())))
    if not is_ct and modality != "MR":
        volume = replace(volume, meta={**volume.meta, "Modality": ""})
    return middle_axial(volume, _USUAL["CT" if is_ct else "MR"])
