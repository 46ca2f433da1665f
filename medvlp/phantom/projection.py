"""Geometry of a radiograph: from voxels and points to the Beer-Lambert exponent on a flat detector.

The source is a point: what lies far from the detector is magnified (heart and clavicles of an AP bedside film). Voxels
are projected slab by slab, each with its own magnification; points exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from medvlp.phantom.body import Body
from medvlp.phantom.facts import View
from medvlp.phantom.materials import attenuation
from medvlp.phantom.points import Cloud, plane_splat
from medvlp.phantom.regions import Region
from medvlp.phantom.tissue import SPACING

_SLABS: Final = 8


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where source and detector stand.

    Attributes:
        view: which film.
        size: pixels a side.
        pixel: mm at the detector.
        distance: from source to detector, mm.
        detector: position of the detector along the beam (y, or x in a lateral film), mm.
        toward: +1 where the source lies at larger values along the beam, else -1.
        center: mm (across, up) of the beam's centre.
        shear: mm across for each mm along the beam, of a patient who is turned a little.
        roll: degrees by which the picture leans, counterclockwise.
    """

    view: View
    size: int
    pixel: float
    distance: float
    detector: float
    toward: float
    center: tuple[float, float]
    shear: float = 0.0
    roll: float = 0.0

    def magnification(self, along: np.ndarray) -> np.ndarray:
        """Return how much larger things at a depth along the beam appear on the detector."""
        return self.distance / (self.distance - self.toward * (along - self.detector))

    def pixels(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, column and magnification of points ``(N, 3)``."""
        across, along = (0, 1) if self.view != "LATERAL" else (1, 0)
        large = self.magnification(xyz[:, along]).astype(np.float32)
        scale = large / np.float32(self.pixel)
        middle = np.float32((self.size - 1) / 2)
        right = (xyz[:, across] + np.float32(self.shear) * xyz[:, along] - np.float32(self.center[0])) * scale
        down = (np.float32(self.center[1]) - xyz[:, 2]) * scale
        sine, cosine = np.float32(np.sin(np.radians(self.roll))), np.float32(np.cos(np.radians(self.roll)))
        return middle + cosine * down - sine * right, middle + sine * down + cosine * right, large

    def turned(self, image: np.ndarray) -> np.ndarray:
        """Return an upright picture (size, size) leaned as `pixels` leans points."""
        if self.roll == 0.0:
            return image
        sine, cosine = np.sin(np.radians(self.roll)), np.cos(np.radians(self.roll))
        matrix = np.array([[cosine, sine], [-sine, cosine]])
        middle = np.full(2, (self.size - 1) / 2)
        return ndimage.affine_transform(image, matrix, middle - matrix @ middle, order=1, mode="nearest")


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A radiograph before its detector.

    Attributes:
        view: which film.
        line_integral: float32 (H, W), energy-weighted Beer-Lambert exponent.
        masks: bool (H, W) for each finding of the study.
        boxes: (x0, y0, x1, y1) in pixels around each mask, right and lower edge outside, None where it is not seen.
        pixel_spacing: (row, column) in mm at the detector.
    """

    view: View
    line_integral: np.ndarray
    masks: tuple[np.ndarray, ...]
    boxes: tuple[tuple[float, float, float, float] | None, ...]
    pixel_spacing: tuple[float, float]


def geometry_of(body: Body, view: View, size: int) -> Geometry:
    """Return how a film of a body is taken, the field fitted to the chest."""
    anatomy, y, x = body.anatomy, body.grid.y[0, :, 0], body.grid.x[0, 0]
    trunk = 2.0 * (147.0 * anatomy.scale[0] + anatomy.muscle + anatomy.fat)
    pose = body.pose
    field = float(np.clip(trunk + 26.0, 340.0, 420.0)) * pose.field * (1.07 if view != "AP" else 1.15)
    middle = body.grid.shape[0] // 2
    filled = np.flatnonzero(body.density[middle, :, x.size // 2] > 0.5)
    front, back = float(y[filled[0]]), float(y[filled[-1]])
    up = anatomy.apex + 38.0 + 0.35 * (field - 380.0) + pose.up - 0.5 * field / 1.1
    shear = float(np.tan(np.radians(pose.yaw)))
    middle_y = (front + back) / 2 + 0.5 * pose.across
    if view == "LATERAL":
        side = float(x[np.flatnonzero(body.density[middle, y.size // 2] > 0.5)[-1]])
        return Geometry(view, size, field / size, 1800.0, side + 30.0, -1.0, (middle_y, up), shear, pose.roll)
    distance, detector, toward = (1800.0, front - 25.0, 1.0) if view == "PA" else (1000.0, back + 35.0, -1.0)
    return Geometry(view, size, field / size, distance, detector, toward, (pose.across, up), shear, pose.roll)


def _taps(
    first: float, edge: float, cells: int, middle: float, scale: float, size: int, flip: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return four (index, weight) pairs that resample an axis by Catmull-Rom."""
    pixel = np.arange(size, dtype=np.float64) - (size - 1) / 2
    place = ((-pixel if flip else pixel) * scale + middle - first) / edge
    base = np.floor(place)
    t = place - base
    weights = (
        0.5 * (-t + 2 * t**2 - t**3),
        0.5 * (2 - 5 * t**2 + 3 * t**3),
        0.5 * (t + 4 * t**2 - 3 * t**3),
        0.5 * (t**3 - t**2),
    )
    taps = []
    for shift, weight in zip((-1, 0, 1, 2), weights, strict=True):
        taps.append((np.clip(base + shift, 0, cells - 1).astype(np.intp), weight.astype(np.float32)))
    return taps


def _gather(image: np.ndarray, taps: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return an image resampled along its rows."""
    total = np.zeros((len(taps[0][0]), image.shape[1]), np.float32)
    for index, weight in taps:
        total += image[index] * weight[:, None]
    return total


def _resample(image: np.ndarray, body: Body, geometry: Geometry, along: float) -> np.ndarray:
    """Return a slab's path lengths (Z, across) as the detector sees them."""
    lateral = geometry.view == "LATERAL"
    scale = geometry.pixel / float(geometry.magnification(np.array(along)))
    origin = body.grid.origin
    rows = _taps(origin[2], SPACING[0], image.shape[0], geometry.center[1], scale, geometry.size, True)
    first, edge = (origin[1], SPACING[1]) if lateral else (origin[0], SPACING[2])
    across = geometry.center[0] - geometry.shear * along
    columns = _taps(first, edge, image.shape[1], across, scale, geometry.size, False)
    return _gather(np.ascontiguousarray(_gather(image, rows).T), columns).T


def _voxel_path(field: np.ndarray, body: Body, geometry: Geometry) -> np.ndarray:
    """Return mm of path (size, size) through a field (Z, Y, X) of densities."""
    axis, edge = (2, SPACING[2]) if geometry.view == "LATERAL" else (1, SPACING[1])
    cells = field.shape[axis] // _SLABS
    first = body.grid.origin[0] if axis == 2 else body.grid.origin[1]
    depth, height, width = field.shape
    shape = (depth, height, _SLABS, cells) if axis == 2 else (depth, _SLABS, cells, width)
    slabs = field.reshape(shape).sum(3 if axis == 2 else 2, dtype=np.float32) * np.float32(edge)
    total = np.zeros((geometry.size, geometry.size), np.float32)
    for i in range(_SLABS):
        slab = slabs[:, :, i] if axis == 2 else slabs[:, i]
        if slab.any():
            total += _resample(slab, body, geometry, first + edge * (cells * (i + 0.5) - 0.5))
    return np.maximum(total, 0.0)


def _cloud_path(geometry: Geometry, *clouds: Cloud) -> np.ndarray | float:
    """Return mm of path (size, size) through clouds of one material, 0.0 if they are empty."""
    shape = (geometry.size, geometry.size)
    image: np.ndarray | None = None
    for cloud in clouds:
        if len(cloud.xyz):
            row, column, large = geometry.pixels(cloud.xyz)
            weight = cloud.volume * (large * large * np.float32(1.0 / geometry.pixel**2))
            part = plane_splat(row, column, weight, shape)
            image = part if image is None else image + part
    if image is None:
        return 0.0
    return ndimage.gaussian_filter(image, max(0.5, 0.8 / geometry.pixel), mode="nearest", truncate=3.0)


def _arms_path(body: Body, geometry: Geometry) -> np.ndarray:
    """Return mm of path (size, size) through arms that hang beside the chest; CT and lateral films have them raised."""
    anatomy = body.anatomy
    trunk = 146.0 * anatomy.scale[0] + anatomy.muscle + anatomy.fat
    radius = 38.0 + 0.35 * anatomy.fat + (6.0 if anatomy.sex == "M" else 0.0)
    spread = (18.0, 34.0) if anatomy.supine else (26.0, 70.0)
    top = anatomy.apex - 58.0 * anatomy.scale[2]
    scale = float(geometry.magnification(np.array(20.0)))
    pixel = (np.arange(geometry.size, dtype=np.float32) - (geometry.size - 1) / 2) * np.float32(geometry.pixel / scale)
    x, z = pixel[None, :] + np.float32(geometry.center[0]), np.float32(geometry.center[1]) - pixel[:, None]
    path = np.zeros((geometry.size, geometry.size), np.float32)
    for sign in (-1.0, 1.0):
        start = np.array([sign * (0.86 * trunk + spread[0]), top], np.float32)
        step = np.array([sign * (trunk + radius + spread[1]), top - 300.0], np.float32) - start
        along = np.clip(((x - start[0]) * step[0] + (z - start[1]) * step[1]) / float((step * step).sum()), 0.0, 1.0)
        square = (x - start[0] - along * step[0]) ** 2 + (z - start[1] - along * step[1]) ** 2
        path = np.maximum(path, 2.0 * np.sqrt(np.maximum(np.float32(radius * radius) - square, 0.0)))
    return path * np.float32(1.03)


def _region_mask(region: Region, body: Body, geometry: Geometry) -> np.ndarray:
    shape = (geometry.size, geometry.size)
    mask = np.zeros(shape, bool)
    if region.box is not None and region.voxels is not None:
        lateral = geometry.view == "LATERAL"
        axis, edge = (2, SPACING[2]) if lateral else (1, SPACING[1])
        path = region.voxels.sum(axis, dtype=np.float32) * np.float32(edge)
        place = region.box[2 if lateral else 1]
        along = (body.grid.origin[0] if lateral else body.grid.origin[1]) + edge * (place.start + place.stop - 1) / 2
        other = region.box[1 if lateral else 2]
        flat = np.zeros((body.grid.shape[0], body.grid.shape[1 if lateral else 2]), np.float32)
        flat[region.box[0], other] = path
        mask |= geometry.turned(_resample(flat, body, geometry, along)) > max(region.depth, 0.75 * edge)
    if region.points is not None and len(region.points):
        row, column, _ = geometry.pixels(region.points)
        hit = plane_splat(row, column, np.ones(len(row), np.float32), shape) > 0.05
        reach = round(region.reach / geometry.pixel)
        mask |= ndimage.binary_dilation(hit, iterations=reach) if reach else hit
    return mask


def _box(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    for rows, columns in ndimage.find_objects(mask.view(np.uint8)):
        return float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)
    return None


def project(body: Body, view: View, *, size: int) -> Projection:
    """Project a body onto a detector.

    Frontal films are shown as a radiologist hangs them, the patient's left at the image's right; a lateral film is a
    left lateral with the front at the image's left.

    Args:
        body: from `build_body`.
        view: ``"PA"`` (source behind, 180 cm), ``"AP"`` (source in front, 100 cm) or ``"LATERAL"``.
        size: pixels a side.
    """
    geometry = geometry_of(body, view, size)
    soft = _voxel_path(body.density, body, geometry)
    if view != "LATERAL":
        soft = np.maximum(soft, _arms_path(body, geometry))
    soft = geometry.turned(soft)
    soft = np.maximum(soft + _cloud_path(geometry, body.soft), 0.0)
    bones = (body.bone,) if view == "LATERAL" else (body.bone, body.arms)
    exponent = attenuation(soft, _cloud_path(geometry, *bones), _cloud_path(geometry, body.metal))
    masks = tuple(_region_mask(region, body, geometry) for region in body.regions)
    spacing = (geometry.pixel, geometry.pixel)
    return Projection(view, exponent, masks, tuple(_box(mask) for mask in masks), spacing)
