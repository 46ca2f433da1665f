"""Stored values of one slice to modality values in a volume: per slice and frame, never windowed, never inverted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medvlp.io.dicom_display import modality_of
from medvlp.io.dicom_frames import read_frame
from medvlp.io.errors import refusing
from medvlp.io.lut import LookupTable, Rescale
from medvlp.io.slices import Slice

__all__ = ["Account", "SliceValues", "read_slice"]

_EXACT = 1 << 24  # float32 holds all whole numbers up to here


@dataclass
class Account:
    """What reading the slices of a volume did, each thing told once."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)
    modality: dict[str, int] = field(default_factory=dict)
    padded: bool = False
    floats: bool = False

    def finish(self, voxels: np.ndarray) -> None:
        """Sum up the slices: the way of most, and how many ways there were."""
        for counted in (self.stored, self.modality):
            first = max(counted, key=lambda step: counted[step])
            many = f" (and {len(counted) - 1} others, slice by slice)" if len(counted) > 1 else ""
            self.steps.append(first + many)
        if self.padded:
            self.steps.append("padding: PixelPaddingValue, voxels kept as they are stored")
        if self.floats and not np.isfinite(voxels).all():
            self.notes.append(f"{int((~np.isfinite(voxels)).sum())} voxels are not finite and were kept")


@dataclass(frozen=True, eq=False)
class SliceValues:
    """Stored values ``(rows, columns)`` and what makes modality values of them."""

    stored: np.ndarray
    modality: LookupTable | Rescale

    def into(self, out: np.ndarray) -> None:
        """Write modality values into a float32 array ``(rows, columns)``, rounded once from float64.

        Example:
            >>> out = np.empty((1, 2), np.float32)
            >>> SliceValues(np.array([[0, 3000]], np.uint16), Rescale(1.0, -1024.0)).into(out)
            >>> out.tolist()
            [[-1024.0, 1976.0]]
        """
        rescale = self.modality
        if isinstance(rescale, Rescale) and _adds_exactly(rescale, self.stored.dtype):
            np.add(self.stored, np.float32(rescale.intercept), out=out)
        else:
            out[...] = rescale(self.stored)


def _adds_exactly(rescale: Rescale, dtype: np.dtype) -> bool:
    """Whether float32 holds all numbers on the way: half the time of float64."""
    whole = rescale.slope == 1 and rescale.intercept.is_integer() and abs(rescale.intercept) < _EXACT - (1 << 16)
    return whole and dtype.kind in "iu" and dtype.itemsize <= 2


def read_slice(slice_: Slice, account: Account) -> SliceValues:
    """Decode a slice.

    Raises:
        UnreadableImage: naming the slice's file.
    """
    layout, steps = slice_.source.layout, list[str]()
    account.notes.extend(slice_.source.notes)
    with refusing(slice_.source.path), slice_.source.opened() as parsed:
        stored = read_frame(parsed, layout, slice_.frame, account.notes)
        modality = modality_of(layout, slice_.groups, steps, account.notes).apply
    for counted, step in ((account.stored, stored.step), (account.modality, steps[0])):
        counted[step] = counted.get(step, 0) + 1
    account.padded |= slice_.groups[-1].has("PixelPaddingValue")
    account.floats |= layout.kind != "int"
    return SliceValues(stored.values, modality)
