"""One picture of a volume: the slice across its middle, as a radiologist looks at an axial slice."""

from __future__ import annotations

from medvlp.core.errors import UserError
from medvlp.io.image import Image
from medvlp.io.presets import volume_preset_names
from medvlp.io.volume import Volume
from medvlp.io.volume_display import window
from medvlp.io.volume_slices import slices_of

_USUAL = {"CT": "ct_mediastinum_v1", "MR": "mr_percentile_v1"}


def volume_preset(volume: Volume, wanted: str | None) -> str:
    """Return the preset to show a volume in: the wanted one, else the usual one of its modality.

    Raises:
        UserError: none is wanted and the volume does not say that it is CT or MR.

    Example:
        >>> import numpy as np
        >>> from medvlp.io.affine import Affine
        >>> volume_preset(Volume(np.zeros((1, 1, 1), np.float32), Affine(np.eye(4)), meta={"Modality": "MR"}), None)
        'mr_percentile_v1'
    """
    modality = str(volume.meta.get("Modality", ""))
    if wanted is not None or modality in _USUAL:
        return wanted or _USUAL[modality]
    fitting = ", ".join(volume_preset_names())
    raise UserError(f"The volume does not say that it is CT or MR: choose a preset, one of {fitting}.")


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
        >>> import numpy as np
        >>> from medvlp.io.affine import Affine
        >>> air_and_bone = np.array([[[-2000.0]], [[2000.0]], [[-2000.0]]], np.float32)
        >>> middle_axial(Volume(air_and_bone, Affine(np.eye(4))), "ct_bone_v1").pixels.tolist()
        [[1.0]]
    """
    shown = window(volume, preset)
    slices = slices_of(shown, "axial")
    middle = len(slices) // 2
    step = f"picture: axial slice {middle} of {len(slices)} from the feet, patient's left at the right hand"
    return Image(
        pixels=slices.read([middle])[0], spacing=slices.spacing, spacing_kind="calibrated", meta=slices.meta,
        steps=(*shown.steps, step), warnings=shown.warnings,
    )  # fmt: skip
