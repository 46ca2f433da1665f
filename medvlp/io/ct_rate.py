"""The guard for CT-RATE: its side-car's rescale belongs to the first release only, and knows the true spacing.

The first release stores values as they came from the scanner, with slope, intercept and spacing in a CSV; the second
stores Hounsfield units, with the same CSV beside it (GitHub, ibrahimethemhamamci/CT-CLIP issue 50). Applied twice, or
never, the rescale is wrong by 1,024 or 8,192 Hounsfield units without a word.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from medvlp.core.errors import DataError
from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage
from medvlp.io.volume import Volume

_AIR = (-1100.0, -700.0)  # air and aerated lung, HU
_SOFT_TISSUE = (-150.0, 150.0)  # fat, water, muscle and blood, HU
_LEAST_SHARE = 0.02  # of the voxels, of each; a chest has five times that
_DENSE = 500.0  # HU: cortical bone and metal; where 1024 was added, all soft tissue
_MOST_DENSE = 0.05  # of the voxels; without it raw padding (-976) passes for air, and raw air (24) for soft tissue
_SAME_MM = 1e-3


def ct_rate_hu(volume: Volume, slope: float, intercept: float, spacing: tuple[float, float, float]) -> Volume:
    """Return a CT-RATE volume in Hounsfield units with its true spacing, whichever release it is from.

    The values decide: a chest holds air and lung (-1100 to -700 HU) and soft tissue (-150 to 150 HU), each in at least
    2 % of its voxels, and no more than 5 % above 500 HU. Either the values as they are look so, or
    ``slope * value + intercept`` does; where both or neither do, nothing is guessed.

    Args:
        volume: as ``read_volume`` gives it.
        slope: RescaleSlope of the side-car, and `intercept` its RescaleIntercept.
        intercept: see slope.
        spacing: true distance of voxel centres in mm along z, y and x: ZSpacing, and XYSpacing twice.

    Returns:
        the volume; ``steps`` and ``warnings`` say what of the side-car was applied (voxel 0, 0, 0 keeps its place).

    Raises:
        DataError: slope, intercept or spacing are not usable numbers.
        UnreadableImage: ``undecidable``, the values do not tell.

    Example:
        >>> stored = np.repeat(np.float32([24, 1064]), 4).reshape(2, 2, 2)  # air and muscle, 1024 added
        >>> hounsfield = ct_rate_hu(Volume(stored, Affine(np.eye(4))), 1.0, -1024.0, (1.0, 1.0, 1.0))
        >>> np.unique(hounsfield.voxels).tolist(), hounsfield.steps
        ([-1000.0, 40.0], ('CT-RATE: side-car slope 1 and intercept -1024 applied, the values were raw',))
    """
    if not (math.isfinite(slope) and slope > 0 and math.isfinite(intercept)):
        raise DataError(
            f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} are no rescale: check the side-car."
        )
    if len(spacing) != 3 or not all(math.isfinite(size) and size > 0 for size in spacing):
        raise DataError(f"The spacing {spacing} is not three lengths in mm, z, y and x: check the side-car.")
    voxels, step = _in_hounsfield(volume.voxels, slope, intercept)
    meta = {**volume.meta, "Units": "HU"}
    return _spaced(replace(volume, voxels=voxels, meta=meta, steps=(*volume.steps, step)), spacing)


def _in_hounsfield(values: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, str]:
    sidecar = f"CT-RATE: side-car slope {slope:g} and intercept {intercept:g}"
    as_they_are = _is_like_a_chest(values, 1.0, 0.0)
    if slope == 1 and intercept == 0:
        if as_they_are:
            return values, f"{sidecar} change nothing"
        detail = "its values are no Hounsfield units of a chest, and its side-car has no rescale"
        raise UnreadableImage("undecidable", detail=detail)
    rescaled = _is_like_a_chest(values, slope, intercept)
    if as_they_are == rescaled:
        first, second = ("both", "and") if rescaled else ("neither", "nor")
        detail = f"{first} the values as they are {second} the rescaled ones look like a chest"
        raise UnreadableImage("undecidable", detail=detail)
    if as_they_are:
        return values, f"{sidecar} not applied, the values are Hounsfield units already"
    return (values * np.float32(slope) + np.float32(intercept)), f"{sidecar} applied, the values were raw"


def _is_like_a_chest(values: np.ndarray, slope: float, intercept: float) -> bool:
    def share(low: float, high: float) -> float:
        return float(np.mean((values >= (low - intercept) / slope) & (values <= (high - intercept) / slope)))

    dense = share(_DENSE, math.inf)
    return share(*_AIR) >= _LEAST_SHARE and share(*_SOFT_TISSUE) >= _LEAST_SHARE and dense <= _MOST_DENSE


def _spaced(volume: Volume, spacing: tuple[float, float, float]) -> Volume:
    given = volume.spacing
    if max(abs(a - b) for a, b in zip(given, spacing, strict=True)) <= _SAME_MM:
        return volume
    ratio = np.array([new / old for new, old in zip(spacing[::-1], given[::-1], strict=True)])
    matrix = volume.affine.matrix.copy()
    matrix[:3, :3] *= ratio
    shown = [" x ".join(f"{size:g}" for size in sizes) for sizes in (given, spacing)]
    return replace(
        volume,
        affine=Affine(matrix, volume.affine.frame),
        steps=(*volume.steps, f"CT-RATE: spacing {shown[1]} mm of the side-car"),
        warnings=(*volume.warnings, f"the file's spacing {shown[0]} mm was replaced by the side-car's {shown[1]} mm"),
    )
