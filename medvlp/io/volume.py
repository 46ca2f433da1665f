"""What reading a volume returns: voxels with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage
from medvlp.io.geometry_report import GeometryReport

__all__ = ["MAX_VOLUME_BYTES", "Volume", "prove_size"]

MAX_VOLUME_BYTES = 4 << 30
"""Largest float32 volume that is read, about 1024 x 1024 x 1024 voxels."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image in its own grid.

    Attributes:
        voxels: float32 ``(z, y, x)``, modality values (Hounsfield units for CT), not windowed.
        affine: index ``(i, j, k)`` along x, y and z -> RAS millimetres.
        meta: facts of the file; never a patient's data.
        steps: what was done, in order.
        warnings: guesses and contradictions.
        geometry: how the slices lay in their files; None where the file holds one ready grid (NIfTI).
    """

    voxels: np.ndarray
    affine: Affine
    meta: dict[str, str | int | float] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    geometry: GeometryReport | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``voxels``."""
        return tuple(self.voxels.shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centres in mm along z, y and x."""
        x, y, z = self.affine.spacing
        return z, y, x

    def world_of(self, k: float, j: float, i: float) -> tuple[float, float, float]:
        """Return where the voxel ``voxels[k, j, i]`` has its centre: (x, y, z) in RAS millimetres.

        Example:
            >>> Volume(np.zeros((1, 1, 1), np.float32), Affine(np.diag([1.0, 2.0, 3.0, 1.0]))).world_of(1, 1, 1)
            (1.0, 2.0, 3.0)
        """
        return self.affine.to("RAS")(i, j, k)


def prove_size(slices: int, rows: int, columns: int) -> None:
    """Refuse a float32 volume of more than ``MAX_VOLUME_BYTES`` before it is allocated.

    Raises:
        UnreadableImage: ``too_large``.

    Example:
        >>> prove_size(120, 512, 512)
    """
    if 4 * slices * rows * columns > MAX_VOLUME_BYTES:
        raise UnreadableImage(
            "too_large", detail=f"{columns} x {rows} x {slices} voxels are more than {MAX_VOLUME_BYTES} bytes"
        )
