"""What the places of a series' slices say: spacing, gaps, tilt, duplicates, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Gap", "GeometryReport", "SeriesInfo"]


@dataclass(frozen=True)
class Gap:
    """A step between neighbouring slices that is longer than the others.

    Attributes:
        after: number of the slice before it, from 0, in the order of position.
        mm: length of the step along the normal of the slices.
    """

    after: int
    mm: float


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, without anything that identifies it.

    Attributes:
        number: what ``read_volume(series=...)`` calls it.
        modality: CT, MR ...
        slices: its images; frames count.
        rows: height of the first.
        columns: width of the first.
        localizer: whether all of its images are localizers.
    """

    number: int
    modality: str
    slices: int
    rows: int
    columns: int
    localizer: bool

    @property
    def words(self) -> str:
        """Number, modality, slices and size, for a sentence.

        Example:
            >>> SeriesInfo(2, "CT", 120, 512, 512, False).words
            '2: CT, 120 slices of 512 x 512'
        """
        kind = f"{self.modality} localizer" if self.localizer else self.modality
        many = "s" if self.slices > 1 else ""
        return f"{self.number}: {kind}, {self.slices} slice{many} of {self.rows} x {self.columns}"


@dataclass(frozen=True)
class GeometryReport:
    """How the slices of a volume lay in their files.

    Attributes:
        slices: places that were read, before any repair.
        spacing: median step along the normal in mm; the slice thickness where there is one slice.
        spread: longest minus shortest step in mm.
        gaps: steps of more than one and a half times the median.
        tilt: angle in degrees between the normal and the direction in which the slices are stacked.
        duplicates: slices that were left out because another had the same place and the same pixels.
        made: slices that ``on_gap="resample"`` interpolated.
        left_out: reason -> number of files or slices of the folder that are not in the volume.
        orientation: where x, y and z index grow to, such as ``"LPS"``.
        series: all series of the folder.
    """

    slices: int
    spacing: float
    spread: float
    gaps: tuple[Gap, ...]
    tilt: float
    duplicates: int
    made: int
    orientation: str
    left_out: dict[str, int] = field(default_factory=dict)
    series: tuple[SeriesInfo, ...] = ()
