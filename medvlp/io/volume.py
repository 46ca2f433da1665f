"""What reading a volume returns: voxels with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image in its own grid.

    Attributes:
        voxels: float32 ``(z, y, x)``, modality values (Hounsfield units for CT), not windowed.
        affine: float64 ``(4, 4)``, column vector ``(i, j, k, 1)`` of the x, y and z index -> RAS millimetres.
        meta: facts of the file; never a patient's data.
        steps: what was done, in order.
        warnings: guesses and contradictions.
    """

    voxels: np.ndarray
    affine: np.ndarray
    meta: dict[str, str | int | float] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``voxels``."""
        return tuple(self.voxels.shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centres in mm along z, y and x."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def world_of(self, k: float, j: float, i: float) -> tuple[float, float, float]:
        """Return where the voxel ``voxels[k, j, i]`` has its centre: (x, y, z) in RAS millimetres.

        Example:
            >>> Volume(np.zeros((1, 1, 1), np.float32), np.diag([1.0, 2.0, 3.0, 1.0])).world_of(1, 1, 1)
            (1.0, 2.0, 3.0)
        """
        x, y, z = self.affine[:3, :3] @ (i, j, k) + self.affine[:3, 3]
        return float(x), float(y), float(z)
