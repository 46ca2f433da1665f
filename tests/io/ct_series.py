"""CT series written from the standard's rules; what each voxel must hold follows from where it lies in the patient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SLOPE, INTERCEPT = 0.1, -3000.0
POSITION, ORIENTATION, SPACING, THICKNESS, UID = 0x00200032, 0x00200037, 0x00280030, 0x00180050, 0x0020000E
IMAGE_TYPE, RESCALE_SLOPE, RESCALE_INTERCEPT, RESCALE_TYPE = 0x00080008, 0x00281053, 0x00281052, 0x00281054
Tags = dict[int, Any]


def truth(x, y, z):
    """Hounsfield units at a point in LPS mm: smooth, with no symmetry; its gradient is below 80 HU a mm near 0."""
    return 40 * x + 25 * y - 31 * z + 0.4 * x * y - 0.3 * y * z + 0.2 * x * z


@dataclass(frozen=True)
class Grid:
    """Where slices lie (PS3.3 C.7.6.2.1.1): axial, feet to head, 0.8 mm between rows and 0.5 between columns."""

    origin: tuple[float, float, float] = (-3.0, -5.0, -7.0)
    along_row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    along_column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    step: tuple[float, float, float] = (0.0, 0.0, 2.0)
    spacing: tuple[float, float] = (0.8, 0.5)
    rows: int = 10
    columns: int = 12
    slices: int = 8
    moved: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def position(self, k: int) -> np.ndarray:
        """LPS mm of the first pixel of slice k."""
        return np.add(self.origin, np.multiply(k, self.step)) + self.moved.get(k, (0, 0, 0))

    def values(self, k: int) -> np.ndarray:
        """Hounsfield units of slice k, (rows, columns)."""
        j, i = np.mgrid[: self.rows, : self.columns]
        along = np.multiply.outer(i * self.spacing[1], self.along_row)
        down = np.multiply.outer(j * self.spacing[0], self.along_column)
        return truth(*np.moveaxis(self.position(k) + along + down, -1, 0))

    def tags(self, k: int) -> Tags:
        """The attributes of slice k."""
        return {
            0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.2"),
            IMAGE_TYPE: ("CS", "ORIGINAL\\PRIMARY\\AXIAL"),
            0x00080060: ("CS", "CT"),
            THICKNESS: ("DS", [9.0]),  # wrong on purpose, as SpacingBetweenSlices is: positions decide
            0x00180088: ("DS", [7.0]),
            UID: ("UI", "1.2.826.0.1.77"),
            0x00200013: ("IS", k + 1),
            POSITION: ("DS", [f"{value:.6f}" for value in self.position(k)]),
            ORIENTATION: ("DS", [f"{value:.9f}" for value in (*self.along_row, *self.along_column)]),
            SPACING: ("DS", list(self.spacing)),
            RESCALE_INTERCEPT: ("DS", INTERCEPT),
            RESCALE_SLOPE: ("DS", SLOPE),
            RESCALE_TYPE: ("LO", "HU"),
        }


def stored(values: np.ndarray, slope: float = SLOPE, intercept: float = INTERCEPT) -> np.ndarray:
    """Unsigned 16-bit values that a rescale turns back into ``values``, within half of its slope."""
    return np.rint((values - intercept) / slope).astype(np.uint16)


def rle(values: np.ndarray) -> bytes:
    """PS3.5 annex G with literal runs of up to 128 bytes only."""
    segments = b""
    offsets = []
    for plane in (values >> 8, values & 0xFF):
        offsets.append(64 + len(segments))
        data = plane.astype(np.uint8).tobytes()
        runs = [data[start : start + 128] for start in range(0, len(data), 128)]
        segment = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments += segment + b"\0" * (len(segment) % 2)
    return np.array([2, *offsets, *[0] * 13], "<u4").tobytes() + segments


def write_series(
    dicom: Callable[..., Path],
    folder: Path,
    grid: Grid = Grid(),
    *,
    only: tuple[int, ...] | None = None,
    change: Callable[[int, Tags], Tags | None] = lambda k, tags: tags,
    name: Callable[[int], str] = lambda k: f"{(5 * k) % 17:02d}.dcm",  # not the order of position
    pixels: Callable[[int, np.ndarray], np.ndarray] = lambda k, values: values,
    **options: Any,
) -> Path:
    """Write slices as files; ``change`` edits the attributes of one, ``pixels`` its stored values."""
    folder.mkdir(exist_ok=True)
    for k in range(grid.slices) if only is None else only:
        tags = grid.tags(k)
        tags = change(k, tags) or tags
        data = pixels(k, stored(grid.values(k)))
        extra = {key: value(data) if callable(value) else value for key, value in options.items()}
        dicom(data, tags, **extra).rename(folder / name(k))
    return folder


def frame_group(grid: Grid, k: int, slope: float = SLOPE, intercept: float = INTERCEPT) -> Tags:
    """Functional groups of one frame (PS3.3 C.7.6.16)."""
    tags = grid.tags(k)
    return {
        0x00209113: ("SQ", [{POSITION: tags[POSITION]}]),
        0x00209116: ("SQ", [{ORIENTATION: tags[ORIENTATION]}]),
        0x00289110: ("SQ", [{SPACING: tags[SPACING], THICKNESS: tags[THICKNESS]}]),
        0x00289145: ("SQ", [{RESCALE_SLOPE: ("DS", slope), RESCALE_INTERCEPT: ("DS", intercept),
                             RESCALE_TYPE: ("LO", "HU")}]),
    }  # fmt: skip


def write_enhanced(
    dicom: Callable[..., Path],
    grid: Grid = Grid(),
    *,
    order: tuple[int, ...] | None = None,
    group: Callable[[int, Tags], None] = lambda frame, tags: None,
    slope: Callable[[int], float] = lambda k: SLOPE,
    tags: Tags | None = None,
    shared: Tags | None = None,
    **options: Any,
) -> Path:
    """Write one multi-frame file; ``order`` gives the slice of each frame, ``group`` edits a frame's groups."""
    order = order or tuple(range(grid.slices))
    groups = [frame_group(grid, k, slope(k)) for k in order]
    for frame, own in enumerate(groups):
        group(frame, own)
    top = {tag: value for tag, value in grid.tags(0).items() if tag in (0x00080060, IMAGE_TYPE, UID)}
    top |= {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.2.1"), SPACING: None, 0x52009230: ("SQ", groups)}
    top |= {0x52009229: ("SQ", [shared])} if shared else {}
    data = np.stack([stored(grid.values(k), slope(k)) for k in order])
    return dicom(data, top | (tags or {}), **options)


def check(volume: Any, *, error: float = SLOPE / 2 + 1e-3, count: int = 200) -> None:
    """Compare random voxels with the truth at the place that the volume says they have."""
    chance = np.random.default_rng(11)
    for _ in range(count):
        k, j, i = (int(chance.integers(size)) for size in volume.shape)
        right, anterior, superior = volume.world_of(k, j, i)
        assert abs(volume.voxels[k, j, i] - truth(-right, -anterior, superior)) <= error, (k, j, i)


def turned(degrees: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Rows and columns of slices turned about two axes of the patient."""
    a, b = math.radians(degrees), math.radians(degrees / 2)
    row = (math.cos(a), math.sin(a), 0.0)
    column = (-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))
    return row, column
