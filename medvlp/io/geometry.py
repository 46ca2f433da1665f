"""Pixel spacing of a 2D image, the way a radiograph is hung, and where its edges point to."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from medvlp.io.dicom_header import Header
from medvlp.io.image import SpacingKind

PROJECTION = ("CR", "DX", "RG", "MG", "PX", "IO", "XA", "RF")
_HUNG = ("CR", "DX", "RG")
_TRUNK = (
    "", *"CHEST THORAX RIB RIBS LUNG HEART STERNUM ABDOMEN PELVIS SPINE TSPINE LSPINE CSPINE TRUNK".split(),  # noqa: SIM905
)  # fmt: skip
_FRONTAL_ROWS = {"L": False, "R": True}  # first letter -> whether columns have to be reversed
_COLUMNS = {"F": False, "H": True}  # second letter -> whether rows have to be reversed
_OTHER = str.maketrans("LRAPHF", "RLPAFH")
_LETTERS = re.compile(r"[LRAPHF]{1,3}")
_SLANT = 0.25  # cosine below which a direction has no share in the letters


@dataclass(frozen=True)
class Spacing:
    """``value`` is (row, column) in mm, or None; ``source`` names the attribute."""

    value: tuple[float, float] | None
    kind: SpacingKind
    source: str


@dataclass(frozen=True)
class Hanging:
    """How to turn the picture: transpose first, then reverse columns and rows."""

    transpose: bool = False
    flip_columns: bool = False
    flip_rows: bool = False
    source: str = ""

    @property
    def identity(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.transpose or self.flip_columns or self.flip_rows)

    @property
    def words(self) -> str:
        """What is done, for a step's sentence."""
        done = {"transposed": self.transpose, "columns reversed": self.flip_columns, "rows reversed": self.flip_rows}
        return ", ".join(word for word, on in done.items() if on)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn ``(H, W)`` or ``(H, W, C)``."""
        array = array.swapaxes(0, 1) if self.transpose else array
        array = array[:, ::-1] if self.flip_columns else array
        return np.ascontiguousarray(array[::-1] if self.flip_rows else array)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Turn a hung ``(H, W)`` or ``(H, W, C)`` back to how it is stored."""
        array = array[::-1] if self.flip_rows else array
        array = array[:, ::-1] if self.flip_columns else array
        return np.ascontiguousarray(array.swapaxes(0, 1) if self.transpose else array)

    def to_stored(self, rows: int, columns: int) -> np.ndarray:
        """Return the (3, 3) matrix that takes points (x, y, 1) of the hung picture to the stored one.

        Points are continuous, pixel k reaches from k to k + 1.

        Args:
            rows: of the hung picture.
            columns: of the hung picture.

        Example:
            >>> (Hanging(flip_columns=True).to_stored(2, 64) @ (49, 1, 1)).tolist()
            [15.0, 1.0, 1.0]
        """
        x = (-1.0, 0.0, columns) if self.flip_columns else (1.0, 0.0, 0.0)
        y = (0.0, -1.0, rows) if self.flip_rows else (0.0, 1.0, 0.0)
        return np.array([*((y, x) if self.transpose else (x, y)), (0.0, 0.0, 1.0)])


def find_spacing(headers: tuple[Header, ...], modality: str, notes: list[str]) -> Spacing:
    """Find the pixel spacing and say what it measures (PS3.3 10.7.1).

    Pixel Spacing is calibrated in the patient; in a projection it is not if it merely repeats, but for rounding, Imager
    Pixel Spacing, which is measured at the detector and magnified, or Nominal Scanned Pixel Spacing, that of a film;
    alone it may be either. `headers` are the data set, then pixel measures of the frame.
    """
    pixel = _pair(headers, "PixelSpacing", notes)
    imager = _pair(headers[:1], "ImagerPixelSpacing", notes)
    scanned = _pair(headers[:1], "NominalScannedPixelSpacing", notes)
    plane, source = imager or scanned, "ImagerPixelSpacing" if imager else "NominalScannedPixelSpacing"
    calibrated = headers[0].text("PixelSpacingCalibrationType") is not None
    if pixel and plane and np.allclose(pixel, plane, rtol=1e-3) and modality in PROJECTION and not calibrated:
        found = Spacing(plane, "detector", f"{source} (PixelSpacing is the same)")
    elif pixel:
        unsaid = headers[0].has("PixelSpacing") and modality in PROJECTION and not (plane or calibrated)
        found = Spacing(pixel, None if unsaid else "calibrated", "PixelSpacing")
    elif plane:
        found = Spacing(plane, "detector", source)
    else:
        notes.append("no usable pixel spacing: lengths cannot be measured")
        ratio = headers[0].valid_numbers("PixelAspectRatio")
        if len(ratio) == 2 and ratio[0] != ratio[1]:
            notes.append(f"pixels are not square: PixelAspectRatio {ratio[0]:g}\\{ratio[1]:g}")
        return Spacing(None, None, "")
    if found.value and abs(found.value[0] / found.value[1] - 1) > 1e-3:
        notes.append(
            f"pixels are not square: {found.value[0]:g} mm between rows, {found.value[1]:g} mm between columns"
        )
    return found


def _pair(headers: tuple[Header, ...], keyword: str, notes: list[str]) -> tuple[float, float] | None:
    for header in headers:
        if not header.has(keyword):
            continue
        try:
            values = header.numbers(keyword)
        except ValueError:
            notes.append(f"{keyword} is not two numbers and was ignored")
            continue
        if len(values) >= 2 and 1e-6 < values[0] < 1e4 and 1e-6 < values[1] < 1e4:
            return (values[0], values[1])
        if values:
            notes.append(
                f"{keyword} {', '.join(f'{value:g}' for value in values[:3])} is not a spacing and was ignored"
            )
    return None


def hanging_of(header: Header, modality: str, notes: list[str]) -> Hanging:
    r"""Return how to turn a radiograph of the trunk so that it hangs as usual, by Patient Orientation only.

    A frontal view hangs with the patient's left at the viewer's right and the feet down (``L\F``). A lateral view is
    only turned to feet down: which way the patient faces is the department's choice. Hands and feet hang otherwise and
    stay as they are. `notes` gets a warning for each turn.
    """
    part = (header.text("BodyPartExamined") or "").upper().replace(" ", "").replace("_", "")
    letters = tuple(value[:1] for value in header.texts("PatientOrientation"))
    if modality not in _HUNG or part not in _TRUNK or len(letters) != 2:
        return Hanging()
    rows, columns = letters
    transpose = rows in _COLUMNS and columns not in _COLUMNS
    if transpose:
        rows, columns = columns, rows
    if columns not in _COLUMNS or rows not in ("L", "R", "A", "P"):
        return Hanging()
    hanging = Hanging(
        transpose, _FRONTAL_ROWS.get(rows, False), _COLUMNS[columns], f"PatientOrientation {letters[0]}\\{letters[1]}"
    )
    if not hanging.identity:
        notes.append(f"{hanging.source} is unusual: the picture was turned to hang as a radiologist expects it")
    return hanging


def opposite(letters: str) -> str:
    """Return the letters of the other way.

    Example:
        >>> opposite("LF")
        'RH'
    """
    return letters.translate(_OTHER)


def edges_of(groups: tuple[Header, ...], hanging: Hanging) -> tuple[str, str, str, str]:
    """Return the patient's directions at the left, right, upper and lower edge of the hung picture, "" where not known.

    Patient Orientation (PS3.3 C.7.6.1.1.1) of the data set, the last of `groups`, counts first; else Image Orientation
    (Patient), C.7.6.2.1.1.
    """
    written = tuple(value.upper() for value in groups[-1].texts("PatientOrientation"))
    if len(written) == 2 and all(_LETTERS.fullmatch(value) for value in written):
        right, lower = written
    else:
        right, lower = _of_cosines(groups)
    if not right:
        return "", "", "", ""
    if hanging.transpose:
        right, lower = lower, right
    right = opposite(right) if hanging.flip_columns else right
    lower = opposite(lower) if hanging.flip_rows else lower
    return opposite(right), right, opposite(lower), lower


def _of_cosines(groups: tuple[Header, ...]) -> tuple[str, str]:
    planes = tuple(item for group in groups for item in group.items("PlaneOrientationSequence")[:1])
    for header in (*planes, groups[-1]):
        if len(numbers := header.valid_numbers("ImageOrientationPatient")) == 6:
            return _letters(numbers[:3]), _letters(numbers[3:])
    return "", ""


def _letters(direction: tuple[float, ...]) -> str:
    """Return the letters of an LPS direction, the largest share first."""
    order = np.argsort([-abs(share) for share in direction], kind="stable")
    return "".join(
        "LPH"[axis] if direction[axis] > 0 else "RAF"[axis] for axis in order if abs(direction[axis]) > _SLANT
    )
