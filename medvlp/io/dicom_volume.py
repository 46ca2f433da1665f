"""A DICOM series or multi-frame file to a volume: chosen, stacked by position, checked, read; repaired if asked to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.dicom import meta_of
from medvlp.io.dicom_display import modality_of
from medvlp.io.dicom_frames import read_frame
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.image import Account
from medvlp.io.lut import LookupTable, Rescale
from medvlp.io.series import choose, find_series
from medvlp.io.slices import Slice
from medvlp.io.stacking import Stack, even_out, normal_of, stack_slices, straighten, tolerance
from medvlp.io.volume import GeometryReport, OnGap, OnTilt, Volume, prove_size

_MANY = 12  # slice numbers named in one step
_EXACT = 1 << 24  # float32 holds all whole numbers up to here


@dataclass
class _Account(Account):
    """What reading the slices of a volume did, each way counted."""

    stored: Counter[str] = field(default_factory=Counter)
    modality: Counter[str] = field(default_factory=Counter)
    padded: bool = False
    floats: bool = False

    def finish(self, voxels: np.ndarray) -> None:
        """Sum up the slices: the way of most, and how many ways there were."""
        for counted in (self.stored, self.modality):
            many = f" (and {len(counted) - 1} others, slice by slice)" if len(counted) > 1 else ""
            self.steps.append(counted.most_common(1)[0][0] + many)
        if self.padded:
            self.steps.append("padding: PixelPaddingValue, voxels kept as they are stored")
        if self.floats and not np.isfinite(voxels).all():
            self.notes.append(f"voxels that are not finite, kept as they are: {int((~np.isfinite(voxels)).sum())}")


def read_dicom_volume(
    path: str | os.PathLike[str],
    *,
    series: int | str | None,
    on_gap: OnGap,
    on_tilt: OnTilt,
    files: Sequence[Path] = (),
) -> Volume:
    """Read one volume of a DICOM file, a folder of slices, or `files`; the rest is as in ``read_volume``."""
    with ExitStack() as shelf, refusing(path):
        found = find_series(path, shelf, files)
        chosen = choose(found, series)
        stack = stack_slices(chosen.slices)
        _check(stack, on_gap, on_tilt)
        account = _Account()
        account.steps.append(f"series {found.infos[chosen.number - 1].words}")
        unit = _units(chosen.slices)
        account.steps.append(f"units: {unit}")
        voxels, duplicates = _read(stack, account)
        left_out = dict(Counter(found.left_out) + Counter(chosen.left_out))
        grid = _repair(voxels, stack, on_gap, on_tilt, account)
        report = GeometryReport(
            slices=len(stack.places), spacing=stack.typical,
            spread=float(stack.steps.max() - stack.steps.min()) if len(stack.steps) else 0.0,
            gaps=stack.gaps, tilt=stack.tilt, duplicates=duplicates, made=len(grid.made),
            orientation=grid.affine.codes, left_out=left_out, series=found.infos,
        )  # fmt: skip
        meta = {**meta_of(stack.places[0][0].source.parsed, stack.places[0][0].groups), "Units": unit}
    return Volume(
        voxels=grid.voxels, affine=grid.affine.to("RAS"), meta=meta, steps=tuple(account.steps),
        warnings=(*dict.fromkeys(account.notes), *_warnings(stack, duplicates, left_out)), geometry=report,
    )  # fmt: skip


def _check(stack: Stack, on_gap: OnGap, on_tilt: OnTilt) -> None:
    """Refuse what the user did not ask to be repaired, before any pixel is read."""
    if not stack.even and on_gap == "error":
        raise UnreadableImage("gap", detail=_uneven(stack))
    if stack.tilted and on_tilt == "error":
        detail = f"its slices are stacked {stack.tilt:.3g} degrees off their normal (gantry tilt)"
        raise UnreadableImage("tilt", detail=detail)
    rows, columns = stack.places[0][0].size
    prove_size(len(stack.places), rows, columns)


def _uneven(stack: Stack) -> str:
    if not stack.gaps:
        return f"the steps between its slices vary from {stack.steps.min():.4g} to {stack.steps.max():.4g} mm"
    where = ", ".join(f"{gap.mm:.4g} mm behind slice {gap.after}" for gap in stack.gaps[:_MANY])
    more = f" and {len(stack.gaps) - _MANY} more times" if len(stack.gaps) > _MANY else ""
    return f"its slices are {stack.typical:.4g} mm apart, but it is {where}{more}"


def _units(slices: tuple[Slice, ...]) -> str:
    """Return the unit of all slices, or refuse two of them."""
    units = slices[0].units
    odd = next((slice_ for slice_ in slices if slice_.units != units), None)
    if odd is not None:
        names = " and ".join(f"{slice_.unit} ({slice_.units[1]})" for slice_ in (slices[0], odd))
        raise odd.refusal("mixed_units", f"slices of its series are in {names}")
    return slices[0].unit


def _read(stack: Stack, account: _Account) -> tuple[np.ndarray, int]:
    """Return float32 ``(z, y, x)`` and the number of duplicates left out."""
    rows, columns = stack.places[0][0].size
    voxels = np.empty(0, np.float32)
    for index, (first, *others) in enumerate(stack.places):
        write = _decoded(first, account)
        if not index:  # allocated when the first slice has proved its size
            voxels = np.empty((len(stack.places), rows, columns), np.float32)
        write(voxels[index])
        for other in others:
            again = np.empty((rows, columns), np.float32)
            _decoded(other, account)(again)
            if not np.array_equal(again, voxels[index], equal_nan=True):
                detail = "it lies at the same place as another slice, with other pixels, and no tag parts the series"
                raise other.refusal("duplicates", detail)
    account.finish(voxels)
    return voxels, sum(map(len, stack.places)) - len(stack.places)


def _decoded(slice_: Slice, account: _Account) -> Callable[[np.ndarray], None]:
    """Decode a slice, and return what writes its modality values into a float32 array ``(rows, columns)``."""
    layout, own = slice_.source.layout, Account()
    account.notes.extend(slice_.source.notes)
    with refusing(slice_.source.path), slice_.source.opened() as parsed:
        stored = read_frame(parsed, layout, slice_.frame, account.notes)
        modality = modality_of(layout, slice_.groups, own).apply
    account.notes.extend(own.notes)
    account.stored[stored.step] += 1
    account.modality[own.steps[0]] += 1
    account.padded |= slice_.groups[-1].has("PixelPaddingValue")
    account.floats |= layout.kind != "int"
    return partial(_write, stored.values, modality)


def _write(stored: np.ndarray, modality: LookupTable | Rescale, out: np.ndarray) -> None:
    """Write modality values, rounded once from float64; where float32 holds all on the way, in half the time."""
    if isinstance(modality, Rescale) and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        whole = modality.intercept.is_integer() and abs(modality.intercept) < _EXACT - (1 << 16)
        if modality.slope == 1 and whole:
            np.add(stored, np.float32(modality.intercept), out=out)
            return
    out[...] = modality(stored)


@dataclass(frozen=True, eq=False)
class _Grid:
    voxels: np.ndarray
    affine: Affine
    made: tuple[int, ...]


def _repair(voxels: np.ndarray, stack: Stack, on_gap: OnGap, on_tilt: OnTilt, account: Account) -> _Grid:
    spacing, made = stack.spacing, ()
    source = "positions" if len(stack.places) > 1 else "SliceThickness"
    account.steps.append(f"order: {len(stack.places)} slices by position along their normal, spacing by {source}")
    if not stack.even and on_gap == "resample":
        evened = even_out(voxels, stack.heights, stack.typical, tolerance(stack.first))
        voxels, spacing, made = evened.voxels, evened.spacing, evened.made
        some = ", ".join(map(str, made[:_MANY])) + (", ..." if len(made) > _MANY else "")
        account.steps.append(
            f"gap: {len(made)} of {len(voxels)} slices made by linear interpolation every {spacing:.4g} mm: {some}"
        )
    affine = stack.affine(spacing)
    if stack.tilted and on_tilt == "resample":
        straight = straighten(voxels, affine, normal_of(stack.first))
        voxels, affine = straight.voxels, straight.affine
        account.steps.append(
            f"tilt: {stack.tilt:.3g} degrees taken out by linear interpolation within slices; "
            f"{straight.outside} voxels outside of all slices are {straight.fill:g}, the smallest value"
        )
    elif stack.tilted:
        account.steps.append(f"tilt: {stack.tilt:.3g} degrees kept in a sheared affine, voxels as they are")
    account.steps.append("place: ImagePositionPatient, ImageOrientationPatient, PixelSpacing; LPS to RAS")
    return _Grid(voxels, affine, made)


def _warnings(stack: Stack, duplicates: int, left_out: dict[str, int]) -> list[str]:
    notes: list[str] = []
    if len(stack.places) == 1:
        notes.append("one slice only: its thickness was taken for the spacing")
    if duplicates:
        notes.append(f"slices left out that repeat another, place and pixels: {duplicates}")
    damaged = left_out.get("empty", 0) + left_out.get("corrupt", 0)
    if damaged:
        notes.append(f"files of the folder that are empty or zeros: {damaged}, slices may be missing")
    return notes
