"""Whether a volume holds what the patient has where its affine puts it, and all of it."""

from __future__ import annotations

import numpy as np

from tests.io.ct_series import Grid, truth

#: Half a step of the coarsest rescale (0.2), and three times 0.01 mm of jitter at 80 HU a mm: 1/20 of a slice.
CLOSE = 3.0


def in_place(voxels: np.ndarray, affine: np.ndarray, truths: tuple[tuple[Grid, float], ...], count: int = 600) -> float:
    """Return the share of random voxels that do not hold what the patient has where the affine puts them.

    Args:
        voxels: (I, J, K) or (I, J, K, volumes).
        affine: (I, J, K) indices to LPS millimetres.
        truths: what may be there; the best fit counts.
        count: voxels that are tried.

    Returns:
        0 to 1; 1 where the volume does not hold all slices of one of the grids.
    """
    volumes = np.asarray(voxels, float).reshape(*voxels.shape[:3], -1)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9 or not volumes.size:
        return 1.0
    places = [np.random.default_rng(29).integers(size, size=count) for size in volumes.shape[:3]]
    at = (affine @ np.stack([*places, np.ones(count)]))[:3]
    shares = []
    for volume in np.moveaxis(volumes, -1, 0):
        off = [np.abs(volume[tuple(places)] - truth(*at) - more) for _, more in truths]
        whole = [_holds(volume.shape, affine, grid) for grid, _ in truths]
        shares.append(min(np.mean(~(miss <= CLOSE)) if all_ else 1.0 for miss, all_ in zip(off, whole, strict=True)))
    return float(max(shares))


def _holds(shape: tuple[int, ...], affine: np.ndarray, grid: Grid) -> bool:
    """Whether the corners of a grid lie inside a volume, a tenth of a voxel allowed."""
    spans = ((grid.columns - 1) * grid.spacing[1], (grid.rows - 1) * grid.spacing[0])
    corners = [
        grid.position(k) + i * spans[0] * np.array(grid.along_row) + j * spans[1] * np.array(grid.along_column)
        for k in (0, grid.slices - 1) for j in (0, 1) for i in (0, 1)
    ]  # fmt: skip
    index = (np.linalg.inv(affine) @ np.c_[corners, np.ones(8)].T)[:3]
    return bool((index > -0.6).all() and (np.array(shape) - 0.4 > index.T).all())
