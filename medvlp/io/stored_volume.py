"""A volume as 16-bit integers in hanging order: half of the memory of float32, and exact wherever that is possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.volume import Volume
from medvlp.io.volume_slices import slices_of

__all__ = ["StoredVolume", "stored_volume"]


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """A volume that hangs: slices to the head, rows to the back, columns to the patient's left.

    Attributes:
        values: int16 ``(slices, rows, columns)``; modality value = slope * value + intercept.
        slope: see values.
        intercept: see values.
        error: largest distance of a modality value from the one read; 0 where 16 bits hold them all.
        affine: (4, 4), index (column, row, slice, 1) of ``values`` -> RAS mm.
        spacing: mm between slices, rows and columns.
        oblique: largest angle in degrees between an axis of the volume and the patient's.
    """

    values: np.ndarray
    slope: float
    intercept: float
    error: float
    affine: np.ndarray
    spacing: tuple[float, float, float]
    oblique: float

    def volume(self, meta: dict[str, str | int | float]) -> Volume:
        """Return the volume again, in hanging order, with the facts of its file."""
        voxels = np.empty(self.values.shape, np.float32)
        for stored, out in zip(self.values, voxels, strict=True):
            out[...] = stored * self.slope + self.intercept
        return Volume(voxels, Affine(self.affine), meta)


def stored_volume(volume: Volume) -> StoredVolume:
    """Return a volume of modality values as integers; voxels that are not finite become the smallest value.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> voxels = np.array([[[-1000.0, 0.5]]], np.float32)  # x runs to the right
        >>> stored = stored_volume(Volume(voxels, Affine(np.eye(4))))
        >>> (stored.values * stored.slope + stored.intercept).tolist(), stored.error
        ([[[0.5, -1000.0]]], 0.0)
    """
    slices = slices_of(volume, "axial")
    hung = slices.read(range(len(slices)))
    finite = np.isfinite(hung)
    if not finite.all():
        hung = np.where(finite, hung, hung[finite].min() if finite.any() else np.float32(0))
    low, high = float(hung.min()), float(hung.max())
    slope, intercept = _scale(hung, low, high)
    values = np.empty(hung.shape, np.int16)
    error = 0.0
    for voxels, out in zip(hung, values, strict=True):  # slice by slice: float64 takes the memory of one
        out[...] = np.rint((voxels.astype(np.float64) - intercept) / slope)
        error = max(error, float(np.abs((out * slope + intercept).astype(np.float32) - voxels).max()))
    axes = volume.affine.to("RAS").matrix[:3, :3] / volume.affine.spacing
    turned = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), 0, 1))))
    spacing = (slices.step, *slices.spacing)
    half = np.eye(4)
    half[:3, 3] = 0.5  # ``matrix`` counts from the corner of the first voxel
    affine = volume.affine.to("RAS").matrix @ np.linalg.inv(half) @ slices.matrix @ half
    return StoredVolume(values, slope, intercept, error, affine, spacing, turned)


def _scale(hung: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Whole numbers as they are; else the steps in which the values stand, if they are few enough; else 65535 steps."""
    if low >= -32768 and high <= 32767 and all(np.array_equal(part, np.rint(part)) for part in hung):
        return 1.0, 0.0
    seen = np.unique(hung[len(hung) // 2]).astype(np.float64)
    span = float(seen[-1] - seen[0])
    if span > 0:
        slope = span / float(np.rint(span / np.diff(seen).min()))
        away = (seen - low) / slope
        if (high - low) / slope < 65536 and np.abs(away - np.rint(away)).max() < 0.01:
            return slope, low + 32768 * slope
    slope = (high - low) / 65535 or 1.0
    return slope, low + 32768 * slope
