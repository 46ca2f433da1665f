"""A body as voxels: Hounsfield units with the fine structures, and where its findings lie."""

from __future__ import annotations

import numpy as np

from medvlp.phantom.body import Body
from medvlp.phantom.materials import voxel_hounsfield
from medvlp.phantom.points import volume_splat
from medvlp.phantom.tissue import SPACING


def hounsfield_of(body: Body) -> np.ndarray:
    parts = [
        volume_splat(cloud, body.grid.origin, SPACING, body.grid.shape) for cloud in (body.soft, body.bone, body.metal)
    ]
    return voxel_hounsfield(body.density, parts[0], parts[1], parts[2])


def mask_of(body: Body, finding: int = 0) -> np.ndarray:
    region = body.regions[finding]
    mask = np.zeros(body.grid.shape, bool)
    if region.box is not None and region.voxels is not None:
        mask[region.box] = region.voxels
    if region.points is not None and len(region.points):
        mask.reshape(-1)[body.grid.index(region.points)] = True
    return mask
