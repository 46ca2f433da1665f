"""A volume as 16-bit integers in hanging order: half of the memory of float32, and exact wherever that is possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.volume import GeometryReport, Volume
from medvlp.io.volume_slices import slices_of

_CUT = {"sagittal": 0, "coronal": 1, "axial": 2}  # index of a hung volume that runs across a plane


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """A volume that hangs: slices to the head, rows to the back, columns to the patient's left.

    Attributes:
        values: int16 ``(slices, rows, columns)``; modality value = slope * value + intercept.
        slope: see values.
        intercept: see values.
        error: largest distance of a modality value from the one read; 0 where 16 bits hold them all.
        missing: what stands for voxels that are not finite; None where all are.
        affine: (4, 4), index (column, row, slice, 1) of ``values`` -> RAS mm.
        spacing: mm between slices, rows and columns.
        oblique: largest angle in degrees between an axis of the volume and the patient's.
        acquired: number of the index (column, row, slice) that runs across the slices as they were acquired.
        geometry: how they lay in their files, where those were slices.
    """

    values: np.ndarray
    slope: float
    intercept: float
    error: float
    missing: int | None
    affine: np.ndarray
    spacing: tuple[float, float, float]
    oblique: float
    acquired: int
    geometry: GeometryReport | None

    def volume(self, meta: dict[str, str | int | float]) -> Volume:
        """Return the volume again, with the facts of its file, stacked as it was acquired."""
        voxels = np.empty(self.values.shape, np.float32)
        for stored, out in zip(self.values, voxels, strict=True):
            out[...] = stored * self.slope + self.intercept
            if self.missing is not None:
                out[stored == self.missing] = np.nan
        order = [*(n for n in range(3) if n != self.acquired), self.acquired]
        turned = voxels.transpose([2 - n for n in reversed(order)])  # an array is (k, j, i)
        return Volume(turned, Affine(self.affine[:, [*order, 3]]), meta, geometry=self.geometry)


def stored_volume(volume: Volume) -> StoredVolume:
    """Return a volume of modality values as integers."""
    slices = slices_of(volume, "axial")
    hung = slices.hung()
    values = np.empty(hung.shape, np.int16)
    slope, intercept, error, missing = 1.0, 0.0, 0.0, None
    if not _whole(hung, values):
        finite = np.isfinite(hung)
        missing = None if finite.all() else 32767
        low = float(hung.min(where=finite, initial=np.inf)) if finite.any() else 0.0
        high = float(hung.max(where=finite, initial=-np.inf)) if finite.any() else 0.0
        for few in (hung[len(hung) // 2], hung[:0]):  # slices may have slopes of their own, as those of PET have
            (slope, intercept), errors = _scale(few, low, high, 65536 - (missing is not None)), []
            for voxels, there, out in zip(hung, finite, values, strict=True):  # float64 takes the memory of one slice
                out[...] = np.where(there, np.rint((voxels.astype(np.float64) - intercept) / slope), 32767)
                away = np.abs((out * slope + intercept).astype(np.float32) - voxels)
                errors.append(float(away.max(where=there, initial=0)))
            error = max(errors)
            if np.median(errors) <= (high - low) / 65534:  # slices that were interpolated may lie between steps
                break
    axes = volume.affine.to("RAS").matrix[:3, :3] / volume.affine.spacing
    turned = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), 0, 1))))
    spacing = (slices.step, *slices.spacing)
    half = np.eye(4)
    half[:3, 3] = 0.5  # ``matrix`` counts from the corner of the first voxel
    affine = volume.affine.to("RAS").matrix @ np.linalg.inv(half) @ slices.matrix @ half
    cut = _CUT[slices_of(volume).plane]
    return StoredVolume(values, slope, intercept, error, missing, affine, spacing, turned, cut, volume.geometry)


def _whole(hung: np.ndarray, values: np.ndarray) -> bool:
    """Copy whole numbers of 16 bits as they are; False where there are others."""
    for voxels, out in zip(hung, values, strict=True):
        if not (voxels.min() >= -32768 and voxels.max() <= 32767):  # nor where one is not a number
            return False
        out[...] = voxels
        if not np.array_equal(out, voxels):
            return False
    return True


def _scale(few: np.ndarray, low: float, high: float, most: int) -> tuple[float, float]:
    """The steps in which the values of slices stand, if they are below `most` for all; else 65534, and 0 on one."""
    seen = np.unique(few[np.isfinite(few)]).astype(np.float64)
    if len(seen) > 1:
        span = float(seen[-1] - seen[0])
        slope = span / float(np.rint(span / np.diff(seen).min()))
        away = (seen - low) / slope
        if (high - low) / slope < most and np.abs(away - np.rint(away)).max() < 0.01:
            return slope, low + 32768 * slope
    slope = (high - low) / 65534
    return (slope, (round(low / slope) + 32768) * slope) if slope else (1.0, low + 32768)
