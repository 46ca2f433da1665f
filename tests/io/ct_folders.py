"""29 folders of CT, each as a scanner or a careless copy leaves it, and where their voxels must lie.

32 x 40 pixels, 24 slices, 0.8 mm between rows, 0.5 between columns, 2 between slices unless a case says otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
from openjpeg.utils import encode_array

from tests.io.conftest import BIG, DEFLATED, IMPLICIT, RLE
from tests.io.ct_series import (
    IMAGE_TYPE,
    POSITION,
    RESCALE_SLOPE,
    SLOPE,
    THICKNESS,
    UID,
    Grid,
    Tags,
    frame_group,
    rle,
    stored,
    turned,
    write_enhanced,
    write_series,
)

J2K, JPEG_LS = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
INSTANCE_NUMBER = 0x00200013
LATER = 100  # Hounsfield units that a second time point or series has more
AXIAL = Grid(rows=32, columns=40, slices=24)
MIDDLE = 11

Writer = Callable[..., Path]
Write = Callable[[Writer, Path], None]


@dataclass(frozen=True)
class CtFolder:
    """One folder and what may be read from it.

    Attributes:
        name: of the case.
        pitfall: its number.
        write: writes its files into an empty folder.
        truths: grids with what their values have more than the truth; a reader may return any of them, whole.
        refused: why ours refuses it by default; None where it must be read.
        choice: ``series=`` that chooses one of the volumes, where there are several.
        lost: whether no option may read it.
    """

    name: str
    pitfall: int
    write: Write
    truths: tuple[tuple[Grid, float], ...] = ((AXIAL, 0.0),)
    refused: str | None = None
    choice: str | None = None
    lost: bool = False


def _usual(k: int, tags: Tags, series: int = 0, time: int = 0) -> Tags:
    """What an honest file of this class holds besides: a reader may ask for it."""
    return tags | {
        0x00080018: ("UI", f"1.2.826.0.1.5.{series}.{time}.{k + 1}"),
        0x00080020: ("DA", "20200101"),
        0x00080023: ("DA", "20200101"),
        0x00080030: ("TM", "101010"),
        0x00080033: ("TM", "101010"),
        0x00080050: ("SH", "1"),
        0x00080070: ("LO", "ACME"),
        0x00100010: ("PN", "A^B"),
        0x00100020: ("LO", "1"),
        0x00100030: ("DA", "19500101"),
        0x00100040: ("CS", "F"),
        0x00185100: ("CS", "HFS"),
        0x0020000D: ("UI", "1.2.826.0.1.4"),
        0x00200010: ("SH", "1"),
        0x00200011: ("IS", 1 + series),
        0x00200012: ("IS", 1 + time),
        0x00200052: ("UI", "1.2.826.0.1.6"),
        THICKNESS: ("DS", [2.0]),
        0x00180088: ("DS", [2.0]),
    }


def _unordered(k: int) -> str:
    return f"{(5 * k) % 29:02d}.dcm"


def _slices(
    grid: Grid = AXIAL, change: Callable[[int, Tags], Tags] = lambda k, tags: tags, *,
    usual: dict[str, int] | None = None, name: Callable[[int], str] = _unordered, **options: Any,
) -> Write:  # fmt: skip
    def described(k: int, tags: Tags) -> Tags:
        return change(k, _usual(k, tags, **(usual or {})))

    def write(dicom: Writer, folder: Path) -> None:
        write_series(dicom, folder, grid, change=described, name=name, **options)

    return write


def _both(*writes: Write) -> Write:
    def write(dicom: Writer, folder: Path) -> None:
        for one in writes:
            one(dicom, folder)

    return write


def _set(**by_name: Any) -> Callable[[int, Tags], Tags]:
    named = {"thickness": THICKNESS, "between": 0x00180088, "number": INSTANCE_NUMBER, "image_type": IMAGE_TYPE}
    named |= {"series": UID}
    return lambda k, tags: tags | {named[name]: value for name, value in by_name.items()}


def _later(k: int, values: np.ndarray) -> np.ndarray:
    return values + np.uint16(round(LATER / SLOPE))


_AFTER: dict[str, Any] = {"pixels": _later, "name": lambda k: f"later_{k:02d}.dcm"}
_SCOUT = ("CS", "ORIGINAL\\PRIMARY\\LOCALIZER")


def _numbered(k: int, tags: Tags) -> Tags:
    return tags | {INSTANCE_NUMBER: ("IS", 99 - k if k % 2 else k + 1)}


def _slope(k: int) -> float:
    return 0.1 + 0.01 * k


def _rescaled(k: int, tags: Tags) -> Tags:
    return tags | {RESCALE_SLOPE: ("DS", _slope(k))}


def _enhanced(order: tuple[int, ...], slope: Callable[[int], float] = lambda k: SLOPE) -> Write:
    """One multi-frame file as PS3.3 A.38 has it: what is the same for all frames is shared."""
    pointers = struct.pack("<4H", 0x0020, 0x9057, 0x0020, 0x9111)  # InStackPositionNumber of FrameContentSequence
    organization = {0x00209164: ("UI", "1.2.826.0.1.8")}
    index = {**organization, 0x00209165: ("AT", pointers[:4]), 0x00209167: ("AT", pointers[4:])}
    shared = {tag: value for tag, value in frame_group(AXIAL, 0).items() if tag not in (0x00209113, 0x00289145)}

    def group(frame: int, tags: Tags) -> None:
        for tag in shared:
            del tags[tag]
        place = order[frame] + 1
        tags[0x00209111] = ("SQ", [{0x00209056: ("SH", "1"), 0x00209057: ("UL", place), 0x00209157: ("UL", place)}])

    def write(dicom: Writer, folder: Path) -> None:
        usual = _usual(0, AXIAL.tags(0))
        kept = {tag: value for tag, value in usual.items() if tag >> 16 in (0x0008, 0x0010) or tag >> 8 == 0x002000}
        top = {tag: value for tag, value in kept.items() if tag not in (IMAGE_TYPE, POSITION, 0x00200037)}
        top |= {
            0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.2.1"),
            0x00080008: ("CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
        }
        top |= {0x00209221: ("SQ", [organization]), 0x00209222: ("SQ", [index])}
        path = write_enhanced(dicom, AXIAL, order=order, group=group, slope=slope, tags=top, shared=shared)
        path.rename(folder / "0.dcm")

    return write


def _cut(dicom: Writer, folder: Path) -> None:
    _slices()(dicom, folder)
    name = folder / _unordered(MIDDLE)
    name.write_bytes(name.read_bytes()[:-1000])


def _turned(degrees: float) -> Grid:
    row, column = turned(degrees)
    return replace(AXIAL, along_row=row, along_column=column, step=tuple(2.0 * np.cross(row, column)))


def _reformatted(row: tuple[float, ...], column: tuple[float, ...], step: tuple[float, ...]) -> Grid:
    return replace(AXIAL, along_row=row, along_column=column, step=step)


def _at(name: str, pitfall: int, grid: Grid, **more: Any) -> CtFolder:
    return CtFolder(name, pitfall, _slices(grid), ((grid, 0.0),), **more)


def _jittered() -> Grid:
    chance = np.random.default_rng(3)
    return replace(AXIAL, moved={k: tuple(chance.uniform(-0.01, 0.01, 3)) for k in range(AXIAL.slices)})


def _read_by_all() -> list[CtFolder]:
    j2k = {"compressed": lambda v: [bytes(encode_array(v, bits_stored=16, photometric_interpretation=2))]}
    return [
        CtFolder("axial", 19, _slices()),
        _at("negative direction", 27, replace(AXIAL, step=(0.0, 0.0, -2.0), origin=(-3.0, -5.0, 39.0))),
        _at("feet first", 27, _reformatted((-1, 0, 0), (0, 1, 0), (0.0, 0.0, -2.0))),
        _at("sagittal", 27, _reformatted((0, 1, 0), (0, 0, -1), (2.0, 0.0, 0.0))),
        _at("coronal", 27, _reformatted((1, 0, 0), (0, 0, -1), (0.0, 2.0, 0.0))),
        _at("oblique", 27, _turned(25.0)),
        _at("jitter of 0.01 mm", 17, _jittered()),
        CtFolder(
            "thickness and spacing tags are wrong", 19,
            _slices(change=_set(thickness=("DS", [9.0]), between=("DS", [7.0]))),
        ),
        CtFolder("instance numbers against position", 16, _slices(change=_numbered)),
        CtFolder("no instance numbers", 16, _slices(change=_set(number=None))),
        CtFolder(
            "rescale of each slice", 2,
            _slices(change=_rescaled, pixels=lambda k, values: stored(AXIAL.values(k), _slope(k))),
        ),
        CtFolder("implicit VR", 13, _slices(syntax=IMPLICIT)),
        CtFolder("big endian", 13, _slices(syntax=BIG)),
        CtFolder("deflated", 13, _slices(syntax=DEFLATED)),
        CtFolder("JPEG 2000", 13, _slices(syntax=J2K, **j2k)),
        CtFolder("JPEG-LS", 13, _slices(syntax=JPEG_LS, compressed=lambda v: [bytes(jpeg_ls.encode_array(v))])),
        CtFolder("RLE", 13, _slices(syntax=RLE, compressed=lambda v: [rle(v)])),
    ]  # fmt: skip


def _multi_frame() -> list[CtFolder]:
    ordered = tuple(range(AXIAL.slices))
    scrambled = tuple(7 * k % AXIAL.slices for k in ordered)
    return [
        CtFolder("enhanced", 12, _enhanced(ordered)),
        CtFolder("enhanced, frames out of order", 12, _enhanced(scrambled)),
        CtFolder("enhanced, rescale of each frame", 2, _enhanced(ordered, _slope)),
    ]


def _to_be_repaired() -> list[CtFolder]:
    tilted = replace(AXIAL, step=(0.0, 2.0 * float(np.tan(np.radians(20.0))), 2.0))
    uneven = replace(AXIAL, moved={k: (0.0, 0.0, 0.02 * k * k) for k in range(AXIAL.slices)})
    kept = tuple(k for k in range(AXIAL.slices) if k not in (9, 10, 11))
    without = tuple(k for k in range(AXIAL.slices) if k != MIDDLE)
    small = replace(AXIAL, rows=16)
    second = Grid(rows=32, columns=40, slices=12, origin=(4.0, 1.0, 2.0), step=(0.0, 0.0, 3.0))
    scout = replace(AXIAL, along_row=(0, 1, 0), along_column=(0, 0, -1), slices=1)
    return [
        _at("gantry tilt of 20 degrees", 15, tilted, refused="tilt"),
        CtFolder("3 slices are missing", 17, _slices(only=kept), refused="gap"),
        _at("uneven steps", 17, uneven, refused="gap"),
        CtFolder("a slice twice", 18, _both(_slices(), _slices(only=(MIDDLE,), name=lambda k: "copy.dcm"))),
        CtFolder(
            "two time points at the same places", 18,
            _both(_slices(), _slices(usual={"time": 1}, **_AFTER)),
            ((AXIAL, 0.0), (AXIAL, LATER)), refused="several_volumes", choice="1:1",
        ),
        CtFolder(
            "two series", 21,
            _both(_slices(), _slices(second, _set(series=("UI", "1.2.826.0.1.79")), usual={"series": 1}, **_AFTER)),
            ((AXIAL, 0.0), (second, LATER)), refused="several_series", choice="1",
        ),
        CtFolder(
            "a localizer in the series", 21,
            _both(_slices(), _slices(scout, _set(image_type=_SCOUT), usual={"time": 1}, name=lambda k: "-scout.dcm")),
        ),
        CtFolder(
            "a slice of another size", 22,
            _both(_slices(only=without), _slices(small, only=(MIDDLE,), name=lambda k: "odd.dcm")),
            refused="other_size", choice="1:1",
        ),
        CtFolder("a slice is cut off", 22, _cut, refused="truncated", lost=True),
    ]  # fmt: skip


CT_FOLDERS: tuple[CtFolder, ...] = (*_read_by_all(), *_multi_frame(), *_to_be_repaired())
