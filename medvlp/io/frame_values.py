"""One frame as a viewer needs it: 16-bit values, and the file's own display as a table over them.

The first picture of a viewer is then the standard's (PS3.3 C.11) to the last level, whatever the file asks for (VOI LUT
Sequence, SIGMOID, MONOCHROME1), and each further window is one formula on modality values.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from medvlp.io.dicom import choose_frame, groups_of, meta_of, placed, read_dicom
from medvlp.io.dicom_display import Shown, frame_items, shown_by
from medvlp.io.dicom_file import Parsed, parse
from medvlp.io.dicom_frames import Stored, read_frame
from medvlp.io.dicom_layout import check_layout
from medvlp.io.dicom_windows import named_windows
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.geometry import Hanging, edges_of, hanging_of
from medvlp.io.image import Account, Image, SpacingKind
from medvlp.io.lut import LookupTable, looked_up
from medvlp.io.lut import window as voi_window
from medvlp.io.presets import preset_info
from medvlp.io.raster import probe_raster, read_raster
from medvlp.io.slices import UNITS
from medvlp.io.sniff import open_regular, sniff

DISPLAY = "dicom_voi_v1"
"""The preset whose pixels `Frame.image` gives."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, hung as it is shown.

    Attributes:
        values: int16 or uint16 ``(H, W)``; stored values, or modality values where the file has a Modality LUT.
        lo: smallest value that is no padding.
        hi: largest value that is no padding.
        display: float32 ``(hi - lo + 1,)``, what `medvlp.io.read_image` makes of each value, in [0, 1].
        curve: uint8 of the same length: the level that is painted, 255 is white.
        padding: value of the pixels that are black in every window; None where there are none.
        slope: modality value = slope * value + intercept.
        intercept: see slope.
        unit: of the modality values, one of the standard's terms; "" where the file names none or US, "unspecified".
        inverted: whether every window is followed by an inversion (MONOCHROME1).
        windows: (name, centre, width, VOI LUT Function) of each window of the file, in modality values.
        hanging: how the stored picture was turned.
        edges: letters of the patient's directions at the left, right, upper and lower edge, "" where not known.
        spacing: (row, column) distance of pixel centres in mm, or None.
        spacing_kind: see `medvlp.io.Image`.
        photometric: of the file, "" for pictures.
        marker: ``"L"`` or ``"R"`` where the file names one side of the body, else "".
        frames: how many the file has.
        steps: what was done, in order.
        warnings: guesses and contradictions.
        meta: allow-listed facts.
        coloured: the picture itself where it had colours, whose gray is of more than 16 bits.
        rgb: uint8 ``(H, W, 3)``, hung, of a picture that has colours; ``values`` are its luma.
    """

    values: np.ndarray
    lo: int
    hi: int
    display: np.ndarray
    curve: np.ndarray
    padding: int | None
    slope: float
    intercept: float
    unit: str
    inverted: bool
    windows: tuple[tuple[str, float, float, str], ...]
    hanging: Hanging
    edges: tuple[str, str, str, str]
    spacing: tuple[float, float] | None
    spacing_kind: SpacingKind
    photometric: str
    marker: str
    frames: int
    steps: tuple[str, ...]
    warnings: tuple[str, ...]
    meta: dict[str, str | int | float]
    coloured: Image | None = None
    rgb: np.ndarray | None = None

    @property
    def memory(self) -> int:
        """Bytes of its pixels, in all the forms that are held, and of its tables, which may be larger."""
        coloured = None if self.coloured is None else self.coloured.pixels
        held = (self.values, self.display, self.curve, self.rgb, coloured)
        return sum(pixels.nbytes for pixels in held if pixels is not None)

    def painted(self, window: tuple[float, float, str] | None = None) -> np.ndarray:
        """Return `levels`, uint8 ``(H, W)``; of a picture with colours ``(H, W, 3)``, a window acts on each of them."""
        if self.rgb is None:
            return self.levels(window)
        if window is None:
            return self.rgb
        return looked_up(np.rint(255 * voi_window(np.arange(256.0), *window)).astype(np.uint8), self.rgb)

    def levels(self, window: tuple[float, float, str] | None = None) -> np.ndarray:
        """Return what is painted, uint8 ``(H, W)``, hung: by the file's own display, or by a window.

        Args:
            window: centre, width and VOI LUT Function, in modality values.
        """
        table = self.curve
        if window is not None:
            numbers = self.slope * np.arange(self.lo, self.hi + 1) + self.intercept
            shown = voi_window(numbers, *window)
            table = np.rint(255 * (1.0 - shown if self.inverted else shown)).astype(np.uint8)
        return self._black(looked_up(table, self.values, first=self.lo))

    def _black(self, pixels: np.ndarray) -> np.ndarray:
        if self.padding is not None:
            pixels[self.values == self.padding] = 0
        return pixels

    def image(self) -> Image:
        """Return what `medvlp.io.read_image` makes of the same file, without reading it again."""
        if self.coloured is not None:
            return self.coloured
        return Image(
            pixels=self._black(looked_up(self.display, self.values, first=self.lo)),
            spacing=self.spacing, spacing_kind=self.spacing_kind, meta=self.meta, steps=self.steps,
            warnings=self.warnings,
        )  # fmt: skip


def read_frames(path: str | os.PathLike[str], first: int = 0) -> Iterator[Frame]:
    """Read the frames of a DICOM file, or a PNG, JPEG or TIFF, from `first` (from 0) on, for a viewer; no archive.

    Colours are held beside their luma, which is what `medvlp.io.read_image` makes of them, with a warning. Errors as
    there, when a frame is asked for.

    Example:
        >>> import tempfile
        >>> from medvlp.io import write_png
        >>> path = os.path.join(tempfile.mkdtemp(), "two.png")
        >>> write_png(Image(np.array([[0.0, 1.0]], np.float32)), path)
        >>> seen = next(read_frames(path))
        >>> seen.values.tolist(), seen.curve[seen.values - seen.lo].tolist(), seen.spacing
        ([[0, 255]], [[0, 255]], None)
    """
    with open_regular(path) as stream, refusing(path):
        kind = sniff(stream)
        if kind == "nifti":
            raise UnreadableImage("volume", detail="it is a NIfTI volume")
        parsed = parse(stream) if kind == "dicom" else None  # once: it tells of every frame, in minutes for a thousand
        for number in itertools.count(first):
            found = _raster(stream, kind, number) if parsed is None else _dicom(parsed, number)
            yield found
            if number + 1 >= found.frames:
                return


def _raster(stream: BinaryIO, kind: str, number: int) -> Frame:
    stream.seek(0)
    pages = probe_raster(stream, kind, number).pages if kind == "tiff" else 1
    return _picture(lambda color: read_raster(stream, kind, frame=number, color=color), frames=pages)


def _dicom(parsed: Parsed, number: int) -> Frame:
    notes = list(parsed.warnings)
    layout = check_layout(parsed, notes)
    index = choose_frame(layout, number, notes)
    header, recipe = parsed.header, preset_info(DISPLAY)
    modality = (header.text("Modality") or "").upper()
    groups = groups_of(header, index, layout.frames, notes)
    hanging = hanging_of(header, modality, [])
    edges = edges_of(groups, hanging)
    if layout.samples > 1 or layout.photometric == "PALETTE COLOR":

        def read(color: Literal["gray", "rgb"]) -> Image:
            return read_dicom(parsed, preset=recipe, frame=index, color=color)

        return _picture(read, edges=edges, frames=layout.frames, photometric=layout.photometric, hanging=hanging)
    stored = read_frame(parsed, layout, index, notes)
    account = Account([f"frame {index} of {layout.frames}"] if layout.frames > 1 else [], notes)
    account.steps.append(stored.step)
    shown = shown_by(stored, layout, groups, recipe, None, account)
    levels = _levels(stored, shown, notes)
    place = placed(groups, modality, account)
    side = (header.text("ImageLaterality") or header.text("Laterality") or "").upper()
    marker, own = side if side in ("L", "R") else "", shown.modality.unit
    unit = own or header.text("Units") or own  # of a PET: no Rescale Type (C.8.9.1.1.3)
    return Frame(
        values=hanging.apply(levels.values), lo=levels.lo, hi=levels.lo + len(levels.display) - 1,
        display=levels.display.astype(np.float32), curve=np.rint(255 * levels.display).astype(np.uint8),
        padding=levels.padding, slope=levels.slope, intercept=levels.intercept, inverted=shown.invert,
        unit=unit if unit in UNITS and unit != "US" else "HU" if unit == "" and modality == "CT" else "",
        windows=named_windows((*frame_items(groups, "FrameVOILUTSequence"), header)), hanging=hanging, edges=edges,
        spacing=place.spacing, spacing_kind=place.kind, photometric=layout.photometric, marker=marker,
        frames=layout.frames, steps=tuple(account.steps), warnings=tuple(dict.fromkeys(notes)),
        meta=meta_of(parsed, groups),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Levels:
    values: np.ndarray
    lo: int
    display: np.ndarray
    padding: int | None
    slope: float
    intercept: float


def _levels(stored: Stored, shown: Shown, notes: list[str]) -> _Levels:
    """Return 16-bit values with their display, float64 over all integers from the smallest to the largest."""
    values, mask, apply = stored.values, shown.padding, shown.modality.apply
    display = shown.display or (lambda numbers: np.zeros(numbers.shape))
    rescale = (1.0, 0.0) if isinstance(apply, LookupTable) else (apply.slope, apply.intercept)
    low, high = (values.min(), values.max()) if shown.display is None else (shown.low, shown.high)
    largest = 32767 if low < 0 else 65535
    span = 65535 - (mask is not None)  # padding has a value of its own
    if values.dtype.kind == "f" or int(high) - int(low) > span or not -32768 <= low <= high <= largest:
        return _rounded(values, mask, display, rescale, float(low), float(high), notes)
    low, high = int(low), int(high)
    numbers = np.arange(low, high + 1)
    table = display(numbers.astype(np.float64))
    if isinstance(apply, LookupTable):
        mapped = apply(numbers).astype(np.int64)
        values = apply(values).astype(np.int64)
        low, high = int(mapped.min()), int(mapped.max())
        order = np.argsort(mapped, kind="stable")
        table = np.interp(np.arange(low, high + 1), mapped[order], table[order])
    values, padding = _padded(values, mask, low, high)
    return _Levels(values.astype(np.int16 if low < 0 else np.uint16), low, table, padding, *rescale)


def _padded(values: np.ndarray, mask: np.ndarray | None, low: int, high: int) -> tuple[np.ndarray, int | None]:
    """Give all padding one value that no other pixel has."""
    if mask is None or not mask.any():
        return values, None
    used = set(np.unique(values[~mask]).tolist())
    fits = range(-32768, 32768) if low < 0 else range(65536)
    room = (int(values[mask].flat[0]), high + 1, low - 1, *range(low, high))  # a table may fill 16 bits
    padding = next(value for value in room if value in fits and value not in used)
    values = values.astype(np.int32)
    values[mask] = padding
    return values, padding


def _rounded(
    values: np.ndarray, mask: np.ndarray | None, display: Callable[[np.ndarray], np.ndarray],
    rescale: tuple[float, float], low: float, high: float, notes: list[str],
) -> _Levels:  # fmt: skip
    """Round numbers that do not fit into 16 bits to 65535 steps; the last value is kept for padding."""
    step = (high - low) / 65534 or 1.0
    finite = np.where(np.isfinite(values), values, low).astype(np.float64)
    rounded = np.rint(np.clip((finite - low) / step, 0, 65534)).astype(np.uint16)
    padding = None
    if mask is not None and mask.any():
        rounded[mask], padding = 65535, 65535
    notes.append(f"its values need more than 16 bits: they are shown in steps of {step * rescale[0]:.3g}")
    table = display(low + step * np.arange(int(rounded.max() if padding is None else 65534) + 1))
    return _Levels(rounded, 0, table, padding, rescale[0] * step, rescale[0] * low + rescale[1])


def _picture(
    read: Callable[[Literal["gray", "rgb"]], Image], *, edges: tuple[str, str, str, str] = ("", "", "", ""),
    frames: int = 1, photometric: str = "", hanging: Hanging | None = None,
) -> Frame:  # fmt: skip
    """Return a picture whose pixels are display values already: 8 bits of them where that is exact, else 16."""
    image = read("gray")
    pixels = image.pixels.astype(np.float64)
    painted = np.rint(255 * pixels).astype(np.uint8)
    coloured = any("luma" in step for step in image.steps)
    top = 255 if np.abs(255 * pixels - painted).max() < 1e-4 or coloured else 65535
    values = painted.astype(np.uint16) if top == 255 else np.rint(top * pixels).astype(np.uint16)
    shown = read("rgb") if coloured else image
    lo, hi = int(values.min()), int(values.max())
    display = np.arange(lo, hi + 1, dtype=np.float64) / top
    curve = np.rint(255 * display).astype(np.uint8)
    if top > 255:  # 12 bits are no whole steps of 16: what occurs is painted as it was read
        curve[values.ravel() - lo] = painted.ravel()
        display[values.ravel() - lo] = pixels.ravel()
    return Frame(
        values=values, lo=lo, hi=hi, display=display.astype(np.float32), curve=curve, padding=None, slope=1.0,
        intercept=0.0, unit="", inverted=False, windows=(), hanging=hanging or Hanging(), edges=edges,
        spacing=image.spacing,
        spacing_kind=image.spacing_kind, photometric=photometric, marker="", frames=frames, steps=shown.steps,
        warnings=image.warnings, meta=dict(image.meta), coloured=image if coloured else None,
        rgb=np.rint(255 * shown.pixels).astype(np.uint8) if coloured else None,
    )  # fmt: skip
