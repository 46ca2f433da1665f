"""One question to a map: where in this picture is this finding? Laid on the pixels of the source file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A map, the region that it should find, and where both lie.

    Pictures of more than `most_pixels` are looked at in the middle of every k-th pixel, k the smallest that is enough;
    distances stay in pixels of the source.

    Attributes:
        id: of the picture.
        patient: of its patient.
        finding: asked for.
        values: (rows, columns) map over the view, finite.
        view: (x0, y0, x1, y1) of the view in pixels of the source (`ImageRecord.box`).
        size: (height, width) of the source.
        boxes: of the finding, (x0, y0, x1, y1) in pixels of the source, half open; neither boxes nor mask: it is not
            there.
        mask: (height, width) bool where an outline is known: it is then the region, and boxes serve the box AP only.
        flip: the view is a mirror image.
        most_pixels: looked at.

    Raises:
        DataError: if a box, mask or map is none, or the view is empty.
    """

    id: str
    patient: str
    finding: str
    values: NDArray[np.floating]
    view: Box
    size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    mask: NDArray[np.bool_] | None = None
    flip: bool = False
    most_pixels: int = 1 << 20

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.size or not np.isfinite(self.values).all():
            raise DataError(
                f"The map of {self.finding!r} in {self.id!r} has shape {self.values.shape} or holds NaN: give finite "
                "values of shape (rows, columns)."
            )
        if not (self.view[2] > self.view[0] and self.view[3] > self.view[1] and min(self.size) > 0):
            raise DataError(f"The view {self.view} of {self.id!r} is empty: give x0 < x1 and y0 < y1.")
        if any(not (x1 > x0 and y1 > y0) for x0, y0, x1, y1 in self.boxes):
            raise DataError(f"A box of {self.finding!r} in {self.id!r} is empty: give x0 < x1 and y0 < y1.")
        if self.mask is not None and self.mask.shape != self.size:
            raise DataError(
                f"The mask of {self.finding!r} in {self.id!r} is {self.mask.shape}, the file {self.size}: bring one to "
                "the other's size."
            )

    @property
    def step(self) -> int:
        """Source pixels from one that is looked at to the next."""
        step = 1
        while -(-self.size[0] // step) * -(-self.size[1] // step) > self.most_pixels:
            step += 1
        return step

    @property
    def present(self) -> bool:
        """Whether the finding has a region."""
        return bool(self.boxes) or (self.mask is not None and bool(self.mask.any()))

    @cached_property
    def region(self) -> NDArray[np.bool_]:
        """(h, w): whether the middle of a pixel lies in the finding; the nearest pixel where none does."""
        y, x = self._centres()
        if self.mask is not None:
            found = self.mask[y.astype(np.int64)][:, x.astype(np.int64)]
            if self.mask.any() and not found.any():
                rows, columns = np.nonzero(self.mask)
                found[np.abs(y - rows[0]).argmin(), np.abs(x - columns[0]).argmin()] = True
            return found
        found = np.zeros((len(y), len(x)), dtype=bool)
        for x0, y0, x1, y1 in self.boxes:
            inside = np.ix_((y >= y0) & (y < y1), (x >= x0) & (x < x1))
            if found[inside].size:
                found[inside] = True
            else:
                found[np.abs(y - (y0 + y1) / 2).argmin(), np.abs(x - (x0 + x1) / 2).argmin()] = True
        return found

    @cached_property
    def evidence(self) -> FloatArray:
        """(h, w), the map between the middles of its cells by straight lines; NaN outside the view.

        A map with one value has one value here too, to the last bit: ties stay ties.
        """
        down, across = self.axes
        values = self.values.astype(np.float64)
        if self.flip:
            values = values[:, ::-1]
        large = _along(_along(values, down).T, across).T
        large[(down < 0) | (down > 1)] = np.nan
        large[:, (across < 0) | (across > 1)] = np.nan
        return large

    @property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Places over the view of the rows (h,) and columns (w,) looked at, 0 to 1; outside it less or more."""
        x0, y0, x1, y1 = self.view
        y, x = self._centres()
        return (y - y0) / (y1 - y0), (x - x0) / (x1 - x0)

    def _centres(self) -> tuple[FloatArray, FloatArray]:
        half = self.step / 2
        return tuple(np.minimum(np.arange(0, n, self.step) + half, n - 0.5) for n in self.size)  # type: ignore[return-value]


def _along(values: FloatArray, place: FloatArray) -> FloatArray:
    """Return the rows of (n, m) at `place` in [0, 1] of the first axis: a + t (b - a), which keeps equal values."""
    at = np.clip(place * len(values) - 0.5, 0, len(values) - 1)
    low = np.minimum(at.astype(np.int64), max(len(values) - 2, 0))
    high = np.minimum(low + 1, len(values) - 1)
    return values[low] + (at - low)[:, None] * (values[high] - values[low])
