"""The one map between voxel indices and millimetres; it carries the frame that its millimetres are in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

Frame = Literal["RAS", "LPS"]
"""Axes of the patient that count upwards: RAS is right, anterior, superior (NIfTI); LPS left, posterior (DICOM)."""

_LETTERS = ("LR", "PA", "IS")  # of RAS axes: towards the negative and the positive end


@dataclass(frozen=True, eq=False)
class Affine:
    """Indices ``(i, j, k)`` along the x, y and z axis of an array ``(z, y, x)`` to millimetres in the patient.

    Attributes:
        matrix: float64 ``(4, 4)``, read only; it acts on the column ``(i, j, k, 1)``.
        frame: ``"RAS"`` or ``"LPS"``, the frame of the millimetres.

    Raises:
        ValueError: the matrix is not an invertible affine map of three dimensions, or the frame has another name.

    Example:
        >>> affine = Affine(np.diag([0.5, 0.8, 2.0, 1.0]), "LPS")
        >>> affine(2, 1, 3), affine.to("RAS")(2, 1, 3)
        ((1.0, 0.8, 6.0), (-1.0, -0.8, 6.0))
        >>> affine.spacing, affine.codes
        ((0.5, 0.8, 2.0), 'LPS')
    """

    matrix: np.ndarray
    frame: Frame = "RAS"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)  # a copy: nobody else can change it
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or (matrix[3] != (0, 0, 0, 1)).any():
            raise ValueError("an affine is a finite (4, 4) matrix with the last row 0, 0, 0, 1")
        if not abs(np.linalg.det(matrix[:3, :3])) > 0:
            raise ValueError("the affine is singular: its axes do not span three dimensions")
        if self.frame not in ("RAS", "LPS"):
            raise ValueError(f"frame is {self.frame!r}: choose 'RAS' or 'LPS'")
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    def __call__(self, i: float, j: float, k: float) -> tuple[float, float, float]:
        """Return the millimetres (x, y, z) of the index ``(i, j, k)``."""
        x, y, z = self.matrix[:3, :3] @ (i, j, k) + self.matrix[:3, 3]
        return float(x), float(y), float(z)

    def to(self, frame: Frame) -> Affine:
        """Return the same map into another frame; only signs change, so that there and back is exact."""
        if frame == self.frame:
            return self
        matrix = self.matrix.copy()
        matrix[:2] = 0.0 - matrix[:2]  # minus alone would leave zeros with a sign
        return Affine(matrix, frame)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm of neighbours along i, j and k."""
        i, j, k = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def codes(self) -> str:
        """Where i, j and k grow to, nearest axis of the patient for each: letters of L, R, P, A, I and S."""
        axes = self.to("RAS").matrix[:3, :3] / self.spacing
        order = max(itertools.permutations(range(3)), key=lambda order: sum(abs(axes[order[i], i]) for i in range(3)))
        return "".join(_LETTERS[axis][int(axes[axis, i] > 0)] for i, axis in enumerate(order))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Return the matrix, so that ``np.asarray(affine)`` is it."""
        if copy is False and dtype not in (None, self.matrix.dtype):
            raise ValueError("another type of number needs a copy")
        return np.array(self.matrix, dtype) if copy or dtype not in (None, self.matrix.dtype) else self.matrix
