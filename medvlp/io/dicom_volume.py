"""A DICOM series or multi-frame file to a volume: chosen, stacked by position, checked, read; repaired if asked to."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.dicom import meta_of
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.geometry_report import GeometryReport
from medvlp.io.repair import even_out, straighten
from medvlp.io.series import Found, find_series
from medvlp.io.series_choice import choose
from medvlp.io.slice_values import Account, read_slice
from medvlp.io.slices import Slice
from medvlp.io.stacking import Stack, normal_of, stack_slices, tolerance
from medvlp.io.volume import Volume, prove_size

__all__ = ["OnGap", "OnTilt", "read_dicom_volume"]

OnGap = Literal["error", "resample"]
OnTilt = Literal["error", "shear", "resample"]
_MANY = 12  # slice numbers told in one step


def read_dicom_volume(
    path: str | os.PathLike[str], *, series: int | str | None, on_gap: OnGap, on_tilt: OnTilt
) -> Volume:
    """Read one volume of a DICOM file or a folder of slices; arguments and errors as in ``read_volume``."""
    with ExitStack() as shelf, refusing(path):
        found = find_series(path, shelf)
        chosen = choose(found, series)
        stack = stack_slices(chosen.slices)
        _check(stack, on_gap, on_tilt)
        account = Account()
        account.steps.append(f"series {found.infos[chosen.number - 1].words}")
        account.steps.append(f"units: {_units(chosen.slices)}")
        voxels, duplicates = _read(stack, account)
        left_out = dict(Counter(found.left_out) + Counter(chosen.left_out))
        grid = _repair(voxels, stack, on_gap, on_tilt, account)
        report = _report(stack, found, grid, duplicates, left_out)
        meta = meta_of(stack.places[0][0].source.parsed, stack.places[0][0].groups)
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
    told = ", ".join(f"{gap.mm:.4g} mm behind slice {gap.after}" for gap in stack.gaps[:_MANY])
    more = f" and {len(stack.gaps) - _MANY} more times" if len(stack.gaps) > _MANY else ""
    return f"its slices are {stack.typical:.4g} mm apart, but it is {told}{more}"


def _units(slices: tuple[Slice, ...]) -> str:
    """Return the unit of all slices, or refuse two of them."""
    units = slices[0].units
    odd = next((slice_ for slice_ in slices if slice_.units != units), None)
    if odd is not None:
        names = " and ".join(f"{slice_.unit} ({slice_.units[1]})" for slice_ in (slices[0], odd))
        raise odd.refusal("mixed_units", f"slices of its series are in {names}")
    return slices[0].unit


def _read(stack: Stack, account: Account) -> tuple[np.ndarray, int]:
    """Return float32 ``(z, y, x)`` and the number of duplicates left out."""
    rows, columns = stack.places[0][0].size
    voxels, duplicates = None, 0
    for index, (first, *others) in enumerate(stack.places):
        values = read_slice(first, account)
        if voxels is None:  # allocated when the first slice has proved its size
            voxels = np.empty((len(stack.places), rows, columns), np.float32)
        values.into(voxels[index])
        for other in others:
            again = np.empty((rows, columns), np.float32)
            read_slice(other, account).into(again)
            if not np.array_equal(again, voxels[index], equal_nan=True):
                detail = "it lies at the same place as another slice, with other pixels, and no tag tells them apart"
                raise other.refusal("duplicates", detail)
            duplicates += 1
    assert voxels is not None  # a stack has a slice
    account.finish(voxels)
    return voxels, duplicates


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
        told = ", ".join(map(str, made[:_MANY])) + (", ..." if len(made) > _MANY else "")
        account.steps.append(
            f"gap: {len(made)} of {len(voxels)} slices made by linear interpolation every {spacing:.4g} mm: {told}"
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


def _report(stack: Stack, found: Found, grid: _Grid, duplicates: int, left_out: dict[str, int]) -> GeometryReport:
    return GeometryReport(
        slices=len(stack.places), spacing=stack.typical,
        spread=float(stack.steps.max() - stack.steps.min()) if len(stack.steps) else 0.0,
        gaps=stack.gaps, tilt=stack.tilt, duplicates=duplicates, made=len(grid.made), orientation=grid.affine.codes,
        left_out=left_out, series=found.infos,
    )  # fmt: skip


def _warnings(stack: Stack, duplicates: int, left_out: dict[str, int]) -> list[str]:
    notes: list[str] = []
    if len(stack.places) == 1:
        notes.append("one slice only: its thickness was taken for the spacing")
    if duplicates:
        notes.append(f"{duplicates} slices repeat another at the same place with the same pixels: one of each was kept")
    damaged = left_out.get("empty", 0) + left_out.get("corrupt", 0)
    if damaged:
        notes.append(f"{damaged} files of the folder are empty or zeros: slices may be missing")
    return notes
