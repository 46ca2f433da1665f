"""CT of a body: the same anatomy as the radiographs, resampled to a scanner's slices, with its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvlp.phantom.body import Body
from medvlp.phantom.materials import voxel_hounsfield
from medvlp.phantom.points import volume_splat
from medvlp.phantom.regions import Region
from medvlp.phantom.tissue import SPACING

_MARGIN = 0.5  # a voxel belongs to a finding when at least half of it does


@dataclass(frozen=True, slots=True, eq=False)
class CtVolume:
    """A CT volume.

    Attributes:
        hu: int16 (Z, Y, X) in Hounsfield units; z to the head, y to the back, x to the patient's left.
        spacing: voxel edges (dz, dy, dx) in mm.
        origin: centre of voxel (0, 0, 0) as (x, y, z) in mm, LPS.
        masks: bool (Z, Y, X) for each finding of the study.
    """

    hu: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    masks: tuple[np.ndarray, ...]


def _resample(
    field: np.ndarray, origin: tuple[float, ...], spacing: tuple[float, ...], shape: tuple[int, ...], body: Body
) -> np.ndarray:
    """Return a field (Z, Y, X) of the body on another grid; coarser slices are averages over their thickness."""
    result = field
    for axis in range(3):
        start, target = body.grid.origin[2 - axis], origin[2 - axis]
        edge, step, cells = SPACING[axis], spacing[axis], field.shape[axis]
        taps = max(round(step / edge), 1)
        total = np.zeros([shape[i] if i == axis else n for i, n in enumerate(result.shape)], np.float32)
        for tap in range(taps):
            place = (target + step * (np.arange(shape[axis]) + (tap + 0.5) / taps - 0.5) - start) / edge
            place = np.clip(place, 0.0, cells - 1.0)
            first = np.minimum(place.astype(np.intp), cells - 2)
            share = (place - first).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            total += result.take(first, axis) * (1 - share) + result.take(first + 1, axis) * share
        result = total / np.float32(taps)
    return result


def _region_mask(
    region: Region, origin: tuple[float, ...], spacing: tuple[float, ...], shape: tuple[int, int, int], body: Body
) -> np.ndarray:
    mask = np.zeros(shape, bool)
    if region.box is not None and region.voxels is not None:
        field = np.zeros(body.grid.shape, np.float32)
        field[region.box] = region.voxels
        mask |= _resample(field, origin, spacing, shape, body) >= _MARGIN
    if region.points is not None and len(region.points):
        place = [np.rint((region.points[:, i] - origin[i]) / spacing[2 - i]).astype(np.intp) for i in (2, 1, 0)]
        inside = np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(place, shape, strict=True)])
        mask[place[0][inside], place[1][inside], place[2][inside]] = True
    return mask


def render_ct(body: Body, *, shape: tuple[int, int, int] = (48, 128, 128), generator: np.random.Generator) -> CtVolume:
    """Render a CT of a body's chest.

    The field covers the trunk from the lungs' apex to below the diaphragm. Noise is that of a standard dose (some 10 HU
    beside the body, 20 HU in its thick middle) with the grain of a soft kernel.

    Args:
        body: from `build_body`.
        shape: (Z, Y, X).
        generator: draws the noise.
    """
    anatomy = body.anatomy
    low, high = min(anatomy.domes) - 75.0, anatomy.apex + 22.0
    field = min(2.0 * (147.0 * anatomy.scale[0] + anatomy.muscle + anatomy.fat) + 40.0, 416.0)
    spacing = ((high - low) / shape[0], field / shape[1], field / shape[2])
    y = body.grid.y[0, :, 0]
    middle = body.grid.shape[0] // 2
    filled = np.flatnonzero(body.density[middle, :, body.grid.shape[2] // 2] > 0.5)
    center = (float(y[filled[0]]) + float(y[filled[-1]])) / 2
    origin = (-field / 2 + spacing[2] / 2, center - field / 2 + spacing[1] / 2, low + spacing[0] / 2)
    # Outside the body's grid there is air, not a copy of its rim.
    density = _resample(body.density, origin, spacing, shape, body)
    rows = origin[1] + spacing[1] * np.arange(shape[1])
    density[:, (rows < y[0]) | (rows > y[-1])] = 0.0
    soft, bone, metal = (volume_splat(cloud, origin, spacing, shape) for cloud in (body.soft, body.bone, body.metal))
    hu = voxel_hounsfield(density, soft, bone, metal)
    grain = generator.standard_normal(shape, np.float32)
    for axis in (1, 2):
        grain = ndimage.gaussian_filter1d(grain, 0.6, axis, mode="wrap", truncate=3.0)
    thick = ndimage.gaussian_filter1d(density.mean(axis=1), 4.0, 1, truncate=3.0)  # (Z, X)
    hu += grain * (np.float32(24.0) + np.float32(26.0) * np.clip(thick, 0.0, 1.0))[:, None, :]
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    masks = tuple(_region_mask(region, origin, spacing, shape, body) for region in body.regions)
    return CtVolume(stored, spacing, origin, masks)
