"""A volume on a grid of its own around all its organs, and the window around each of them (fVLM, Shui et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.io.volume import Volume

_MARGIN = (5, 20, 20)  # voxels of the resampled volume around all organs together


def resampled(
    volume: Volume,
    masks: np.ndarray,
    spacing: tuple[float, float, float],
    least: tuple[int, int, int],
    ends: tuple[float, float],
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return the cut and padded volume (S, H, W), its organs (O, S, H, W), and (x, y, z, 1) of it -> RAS mm.

    Args:
        volume: the source.
        masks: bool (O, Z, Y, X) of it.
        spacing: wanted, in mm along x, y and z; met by whole numbers of voxels.
        least: size along x, y and z to which it is padded.
        ends: values that become 0 and 1.

    Raises:
        DataError: if an organ is smaller than a voxel.
    """
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Orientation

    there = torch.from_numpy(volume.affine.to("RAS").matrix.copy())
    turn = Orientation(axcodes="LPS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    held = np.concatenate([volume.voxels[None], masks.astype(np.float32)]).transpose(0, 3, 2, 1).copy()
    made: Any = turn(MetaTensor(torch.from_numpy(held), affine=there))
    world, values = np.asarray(made.affine, dtype=np.float64), made.as_tensor().float()
    mm = np.linalg.norm(world[:3, :3], axis=0) / spacing
    # Rounded first: a header's 0.7 in single precision is a little less.
    cells = [max(1, int(n)) for n in np.round(mm * values.shape[1:], 3)]
    shown = F.interpolate(values[None, :1], size=cells, mode="trilinear", align_corners=False)[0, 0]
    shown = ((shown - ends[0]) / (ends[1] - ends[0])).clamp(0, 1).permute(2, 1, 0)
    organs = F.interpolate(values[None, 1:], size=cells, mode="nearest")[0].permute(0, 3, 2, 1) > 0.5
    if not organs.flatten(1).any(dim=1).all():
        raise DataError(f"An organ is smaller than a voxel of {spacing} mm: leave this volume out.")
    cut = [
        (max(0, first - margin), min(n, last + margin))
        for (first, last), margin, n in zip(_box(organs.any(dim=0)), _MARGIN, shown.shape, strict=True)
    ]
    s, h, w = (slice(*part) for part in cut)
    lack = [max(0, size - (last - first)) for (first, last), size in zip(cut, least[::-1], strict=True)]
    around = [side for n in lack[::-1] for side in (n // 2, n - n // 2)]
    start = np.array([first - n // 2 for (first, _), n in zip(cut, lack, strict=True)][::-1])
    scale = np.array(values.shape[1:]) / cells
    step = np.diag([*scale, 1.0])
    step[:3, 3] = (start + 0.5) * scale - 0.5
    return F.pad(shown[s, h, w], around), F.pad(organs[:, s, h, w], around), world @ step


def windows(
    shown: Tensor, organs: Tensor, world: np.ndarray, *, window: Sequence[int], patch: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the windows (O, 2, S, H, W), voxels and organ, and the middles of their slices, (O S, 3) in RAS mm.

    Args:
        shown: the volume, (S, H, W).
        organs: bool (O, S, H, W).
        world: (x, y, z, 1) of them -> RAS mm.
        window: least size along z, y and x; of a larger organ the organ's.
        patch: along z, y and x: sizes are multiples of it.
    """
    places = []
    for organ in organs:
        place = []
        for (first, last), least, size in zip(_box(organ), window, shown.shape, strict=True):
            length = max(least, last - first)
            start = max(0, (first + last) // 2 - length // 2)
            end = min(size, start + length)
            place.append((max(0, end - length), end))
        places.append(place)
    padded = [[-(-(b - a) // p) * p for (a, b), p in zip(place, patch, strict=True)] for place in places]
    room = [
        max(each) for each in zip(*padded, [-(-n // p) * p for n, p in zip(window, patch, strict=True)], strict=True)
    ]
    made = torch.zeros(len(organs), 2, *room)
    for into, organ, place, (s, h, w) in zip(made, organs, places, padded, strict=True):
        into[1, :s, :h, :w] = 0.5
        (z0, z1), (y0, y1), (x0, x1) = place
        into[0, : z1 - z0, : y1 - y0, : x1 - x0] = shown[z0:z1, y0:y1, x0:x1]
        into[1, : z1 - z0, : y1 - y0, : x1 - x0] += organ[z0:z1, y0:y1, x0:x1] * 0.5
    middle = np.array([[(room[2] - 1) / 2, (room[1] - 1) / 2, k, 1.0] for k in range(room[0])])
    middles = [(middle + np.array([x[0], y[0], z[0], 0.0])) @ world.T for z, y, x in places]
    return made, torch.from_numpy(np.concatenate(middles)[:, :3]).float()


def _box(mask: Tensor) -> list[tuple[int, int]]:
    """Return the first and the last voxel of a mask (S, H, W) along each axis."""
    found = mask.nonzero()
    return list(zip(found.amin(dim=0).tolist(), found.amax(dim=0).tolist(), strict=True))
