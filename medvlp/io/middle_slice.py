"""One picture of a volume: the slice across its middle, as a radiologist looks at an axial slice."""

from __future__ import annotations

import numpy as np

from medvlp.core.errors import UserError
from medvlp.io.image import Image
from medvlp.io.preset import FixedWindow, Percentiles
from medvlp.io.presets import preset_info, preset_names
from medvlp.io.volume import Volume
from medvlp.io.volume_display import window

__all__ = ["middle_axial", "volume_preset"]

_USUAL = {"CT": "ct_mediastinum_v1", "MR": "mr_percentile_v1"}
_TOWARDS = {"R": "L", "L": "L", "A": "P", "P": "P", "S": "S", "I": "S"}  # how each axis runs in the picture


def volume_preset(volume: Volume, wanted: str | None) -> str:
    """Return the preset to show a volume in: the wanted one, else the usual one of its modality.

    Raises:
        UserError: none is wanted and the volume does not say that it is CT or MR.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> volume_preset(Volume(np.zeros((1, 1, 1), np.float32), Affine(np.eye(4)), meta={"Modality": "MR"}), None)
        'mr_percentile_v1'
    """
    modality = str(volume.meta.get("Modality", ""))
    if wanted is not None or modality in _USUAL:
        return wanted or _USUAL[modality]
    curves = {name: preset_info(name).curve for name in preset_names()}
    fitting = [name for name, curve in curves.items() if isinstance(curve, FixedWindow | Percentiles)]
    raise UserError(f"The volume does not say that it is CT or MR: choose a preset, one of {', '.join(fitting)}.")


def middle_axial(volume: Volume, preset: str) -> Image:
    """Return the axial slice in the middle of a volume, in a preset's window.

    The slice is one of the volume's own planes, those nearest to axial; of n slices it is number n // 2 from the feet.
    Rows run to the patient's back and columns to the patient's left, so that left is at the viewer's
    right hand. Nothing is resampled: an oblique volume stays oblique, and ``spacing`` may differ between axes.

    Args:
        volume: modality values.
        preset: a preset for volumes; its percentiles are those of the whole volume.

    Returns:
        pixels ``(H, W)`` in [0, 1], with spacing in mm and what the volume says of itself.

    Raises:
        UserError: the preset is none for volumes.
        UnreadableImage: ``preset_mismatch``.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> air_and_bone = np.array([[[-2000.0]], [[2000.0]], [[-2000.0]]], np.float32)
        >>> middle_axial(Volume(air_and_bone, Affine(np.eye(4))), "ct_bone_v1").pixels.tolist()
        [[1.0]]
    """
    shown, codes = window(volume, preset), volume.affine.codes
    axes = ["LPS".index(_TOWARDS[code]) for code in codes]  # of the patient, for i, j and k
    voxels = shown.voxels.transpose(2, 1, 0)  # (i, j, k), as the codes are
    turned = voxels[tuple(slice(None, None, 1 if code in _TOWARDS.values() else -1) for code in codes)]
    left, back, head = (axes.index(axis) for axis in range(3))
    upright = turned.transpose(head, back, left)
    middle = len(upright) // 2
    step = f"picture: axial slice {middle} of {len(upright)} from the feet, patient's left at the right hand"
    spacing = volume.affine.spacing
    return Image(
        pixels=np.ascontiguousarray(upright[middle]),
        spacing=(spacing[back], spacing[left]),
        spacing_kind="calibrated",
        meta=dict(shown.meta),
        steps=(*shown.steps, step),
        warnings=shown.warnings,
    )
