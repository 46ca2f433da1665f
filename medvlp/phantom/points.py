"""Fine structures as clouds of points with a volume: ribs, vessels, nodules and leads are far thinner than a voxel.

A cloud conserves mass under every projection, so one description serves radiographs of any angle and CT; the price is
sampling noise, which a detector's own blur hides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_GOLDEN: Final = 2.399963229728653


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points of one material.

    Attributes:
        xyz: float32 ``(N, 3)``, mm, x to the patient's left, y to the back, z to the head.
        volume: float32 ``(N,)``, mm3 of the material that each point stands for (negative takes away).
    """

    xyz: np.ndarray
    volume: np.ndarray

    def scaled(self, factor: np.ndarray | float) -> Cloud:
        """Return the cloud with its volumes multiplied."""
        return Cloud(self.xyz, (self.volume * factor).astype(np.float32))


def join(clouds: Iterable[Cloud]) -> Cloud:
    """Return all points of several clouds."""
    parts = list(clouds)
    if not parts:
        return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    return Cloud(np.concatenate([part.xyz for part in parts]), np.concatenate([part.volume for part in parts]))


def curve(knots: Sequence[Sequence[float]] | np.ndarray, step: float) -> np.ndarray:
    """Return a smooth line through knots (Catmull-Rom), sampled about every ``step`` mm.

    Args:
        knots: ``(K, 3)`` with K >= 2.
        step: distance of samples, mm.

    Returns:
        float32 ``(N, 3)``, the first and last knot included.

    Example:
        >>> curve([(0, 0, 0), (0, 0, 10)], 1.0).shape
        (11, 3)
    """
    knot = np.asarray(knots, np.float64)
    padded = np.concatenate([2 * knot[:1] - knot[1:2], knot, 2 * knot[-1:] - knot[-2:-1]])
    pieces = []
    for i in range(len(knot) - 1):
        a, b, c, d = padded[i : i + 4]
        count = max(int(np.ceil(np.sqrt(((c - b) ** 2).sum()) / step)), 1)
        t = (np.arange(count) / count)[:, None]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*pieces, knot[-1:]]).astype(np.float32)


def ring_frame(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors ``(N, 3)`` across each unit direction ``(N, 3)``."""
    reference = np.where(
        np.abs(direction[:, 2:3]) < 0.8, np.array([[0, 0, 1]], np.float32), np.array([[0, 1, 0]], np.float32)
    )
    first = np.cross(direction, reference)
    first /= np.sqrt((first * first).sum(1, keepdims=True))
    return first, np.cross(direction, first)


def tubes(
    start: np.ndarray,
    end: np.ndarray,
    radius_start: np.ndarray,
    radius_end: np.ndarray,
    *,
    step: float,
    area: float = 2.5,
    hollow: float = 0.0,
) -> Cloud:
    """Return straight tapering tubes as points.

    Args:
        start: float32 ``(S, 3)``.
        end: float32 ``(S, 3)``.
        radius_start: ``(S,)`` mm.
        radius_end: ``(S,)`` mm.
        step: distance of cross-sections along a tube, mm.
        area: cross-section in mm2 that one point stands for.
        hollow: inner radius as a share of the outer one; only the wall gets points then.

    Example:
        >>> ends = np.array([[[0, 0, 0]], [[0, 0, 10]]], np.float32)
        >>> one = tubes(ends[0], ends[1], np.ones(1), np.ones(1), step=1.0)
        >>> round(float(one.volume.sum()), 2)  # pi r2 h
        31.42
    """
    length = np.sqrt(((end - start) ** 2).sum(1))
    count = np.maximum(np.ceil(length / step), 1).astype(np.int64)
    segment = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    along = ((within + 0.5) / count[segment]).astype(np.float32)
    radius = (radius_start[segment] + (radius_end - radius_start)[segment] * along).astype(np.float32)
    full = np.pi * radius**2 * (1.0 - hollow**2)
    copies = np.maximum(np.ceil(full / area), 1).astype(np.int64)
    section = np.repeat(np.arange(len(copies)), copies)
    k = np.arange(len(section)) - np.repeat(np.cumsum(copies) - copies, copies)
    owner = segment[section]
    share = ((k + 0.5) / copies[section]).astype(np.float32)
    # A lone point stays on the axis; several fill the disc (or the wall) evenly by the golden angle.
    reach = np.where(copies[section] > 1, radius[section], np.float32(0.0)) * np.sqrt(
        np.float32(hollow**2) + np.float32(1.0 - hollow**2) * share
    )
    angle = (np.arange(len(section)) * _GOLDEN).astype(np.float32)
    direction = ((end - start) / np.maximum(length, 1e-6)[:, None]).astype(np.float32)
    first, second = ring_frame(direction)
    position = start[owner] + (end - start)[owner] * along[section, None]
    position = position + first[owner] * (reach * np.cos(angle))[:, None]
    position = position + second[owner] * (reach * np.sin(angle))[:, None]
    volume = (full * length[segment] / count[segment])[section] / copies[section]
    return Cloud(position.astype(np.float32), volume.astype(np.float32))


def polyline(
    line: np.ndarray, radius: np.ndarray | float, *, step: float, area: float = 2.5, hollow: float = 0.0
) -> Cloud:
    """Return a tube along a line ``(N, 3)``; see `tubes`."""
    radii = np.broadcast_to(np.asarray(radius, np.float32), (len(line),))
    return tubes(line[:-1], line[1:], radii[:-1], radii[1:], step=step, area=area, hollow=hollow)


def ball(center: Sequence[float] | np.ndarray, radius: float, spacing: float) -> np.ndarray:
    """Return points ``(N, 3)`` of a cubic lattice inside a sphere."""
    axis = np.arange(-radius + spacing / 2, radius, spacing, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = x * x + y * y + z * z <= radius * radius
    return np.stack([x[inside], y[inside], z[inside]], 1) + np.asarray(center, np.float32)


def plane_splat(row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Add points to an image, each shared by its four neighbours; what falls outside is dropped.

    Args:
        row: ``(N,)``, 0 is the centre of the first row.
        column: ``(N,)``.
        weight: ``(N,)``.
        shape: rows and columns.
    """
    height, width = shape
    across = width + 3  # one pixel of border around catches the outside
    r = np.clip(row, -1.0, height).astype(np.float32) + np.float32(1.0)
    c = np.clip(column, -1.0, width).astype(np.float32) + np.float32(1.0)
    r0, c0 = r.astype(np.int32), c.astype(np.int32)
    r -= r0
    c -= c0
    index = r0 * across + c0
    low, high = weight * (1.0 - r), weight * r
    size = (height + 3) * across
    image = np.bincount(index, low * (1.0 - c), size)
    for offset, part in ((1, low * c), (across, high * (1.0 - c)), (across + 1, high * c)):
        image[offset:] += np.bincount(index, part, size)[: size - offset]
    return image.reshape(height + 3, across)[1 : height + 1, 1 : width + 1].astype(np.float32)


def volume_splat(
    cloud: Cloud, origin: Sequence[float], spacing: Sequence[float], shape: tuple[int, int, int]
) -> np.ndarray:
    """Return the share of each voxel that a cloud fills.

    Args:
        cloud: N points.
        origin: centre of voxel (0, 0, 0) as (x, y, z) mm.
        spacing: voxel edges as (dz, dy, dx) mm.
        shape: (Z, Y, X).

    Example:
        >>> one = Cloud(np.array([[1, 1, 1]], np.float32), np.array([4.0], np.float32))
        >>> float(volume_splat(one, (0, 0, 0), (2, 2, 2), (2, 2, 2)).sum()) * 8
        4.0
    """
    depth, height, width = shape
    across, plane = width + 3, (width + 3) * (height + 3)
    place, whole = [], []
    for axis, (cells, edge) in enumerate(zip((width, height, depth), spacing[::-1], strict=True)):
        value = np.clip((cloud.xyz[:, axis] - origin[axis]) / edge, -1.0, cells) + 1.0
        whole.append(value.astype(np.int64))
        place.append((value - whole[-1]).astype(np.float32))
    index = whole[2] * plane + whole[1] * across + whole[0]
    size = (depth + 3) * plane
    total = np.zeros(size, np.float64)
    for dz, dy, dx in itertools.product((0, 1), repeat=3):
        weight = cloud.volume * (place[2] if dz else 1 - place[2])
        weight = weight * (place[1] if dy else 1 - place[1]) * (place[0] if dx else 1 - place[0])
        offset = dz * plane + dy * across + dx
        total[offset:] += np.bincount(index, weight, size)[: size - offset]
    edge = spacing[0] * spacing[1] * spacing[2]
    inner = total.reshape(depth + 3, height + 3, across)[1 : depth + 1, 1 : height + 1, 1 : width + 1]
    return (inner / edge).astype(np.float32)
