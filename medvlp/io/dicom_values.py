"""Modality values to values of interest: the curve that a preset asks for (PS3.3 C.11.2 for the file's own)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medvlp.io.dicom_header import Header
from medvlp.io.dicom_windows import choose_window
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Account
from medvlp.io.lut import LookupTable, Rescale, full_range, lookup_table, percentile_range, window
from medvlp.io.presets import Curve, FixedWindow, Percentiles

Pointwise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Modality:
    """What makes modality values of stored ones, whether they can be negative, and their unit.

    `unit` is the Rescale Type or Modality LUT Type, "" where the file names none; None where nothing is applied.
    """

    apply: LookupTable | Rescale
    signed: bool
    unit: str | None


def frame_items(groups: tuple[Header, ...], keyword: str) -> tuple[Header, ...]:
    """Return the first item of a sequence from each group that has it, in the order of the groups."""
    return tuple(item for group in groups for item in group.items(keyword)[:1])


def table_of(item: Header, name: str, *, signed_first: bool) -> LookupTable:
    """Return the lookup table of a Modality or VOI LUT item; UnreadableImage ``bad_lut`` where it is none."""
    try:
        descriptor = [int(value) for value in item.numbers("LUTDescriptor")]
        first = [int(value) for value in item.numbers("LUTDescriptor", signed=signed_first)]
    except (ValueError, struct.error):
        raise UnreadableImage("bad_lut", detail=f"LUTDescriptor of {name} is not numbers") from None
    if len(descriptor) == 3:
        descriptor[1] = first[1]  # only the second value is a pixel value and may be signed
    return lookup_table(tuple(descriptor), item.raw("LUTData") or b"", item.order, name=name)


def values_of_interest(
    valid: np.ndarray, modality: Modality, groups: tuple[Header, ...], curve: Curve, choice: int | str | None,
    account: Account,
) -> Pointwise:  # fmt: skip
    """Return modality values -> [0, 1].

    Args:
        valid: stored values that are neither padding nor infinite; at least one.
        modality: what makes modality values of them.
        groups: where attributes may stand, the data set last.
        curve: the preset's way.
        choice: window of the file, for presets that use its windows.
        account: steps and warnings are appended here.

    Raises:
        UnreadableImage: ``bad_lut``, ``bad_window`` or ``preset_mismatch``.
    """
    if isinstance(curve, FixedWindow):
        _require_hounsfield(modality, groups[-1])
        account.steps.append(f"values of interest: {curve.words}")
        return lambda values: window(values, curve.center, curve.width, "LINEAR_EXACT")
    if isinstance(curve, Percentiles):
        low, high = percentile_range(modality.apply(valid.astype(np.float64)), curve.low, curve.high)
        account.steps.append(f"values of interest: percentiles {curve.low:g} ({low:g}) to {curve.high:g} ({high:g})")
        return _between(low, high, account)
    shown = _asked_by_file(modality, groups, choice, account)
    if shown is not None:
        return shown
    # A table need not be monotone, and what it says of values that do not occur does not count.
    seen = modality.apply(
        valid if isinstance(modality.apply, LookupTable) else np.array([valid.min(), valid.max()], np.float64)
    )
    low, high = float(seen.min()), float(seen.max())
    account.steps.append(f"values of interest: minimum {low:g} to maximum {high:g} of the pixels")
    return _between(low, high, account)


def _asked_by_file(
    modality: Modality, groups: tuple[Header, ...], choice: int | str | None, account: Account
) -> Pointwise | None:
    """Return the file's own curve, a VOI LUT Sequence before a window unless one was chosen; None if it has none."""
    tables = groups[-1].items("VOILUTSequence") if choice is None else ()
    if tables:
        table = table_of(tables[0], "VOILUTSequence", signed_first=modality.signed)
        which = "" if len(tables) == 1 else f" 0 of {len(tables)}"
        account.steps.append(
            f"values of interest: VOILUTSequence{which}, {len(table.entries)} entries of {table.bits} bits"
        )
        return lambda values: table(values) / float((1 << table.bits) - 1)
    chosen = choose_window((*frame_items(groups, "FrameVOILUTSequence"), groups[-1]), choice, account.notes)
    if chosen is None:
        return None
    account.steps.append(
        f"values of interest: {chosen.name}, WindowCenter {chosen.center:g}, WindowWidth {chosen.width:g}, "
        f"{chosen.function}"
    )
    return lambda values: window(values, chosen.center, chosen.width, chosen.function)


def _between(low: float, high: float, account: Account) -> Pointwise:
    if low == high:
        account.notes.append("all pixels have the same value")
    return lambda values: full_range(values, low, high)


def _require_hounsfield(modality: Modality, header: Header) -> None:
    """PS3.3 C.8.2.1.1: original CT images are in HU unless they are localizers or their Rescale Type says otherwise."""
    if "LOCALIZER" in (value.upper() for value in header.texts("ImageType")):
        raise UnreadableImage("preset_mismatch", detail="it is a localizer, whose values are no Hounsfield units")
    if modality.unit is None:
        raise UnreadableImage("preset_mismatch", detail="it has no RescaleSlope: its values are no Hounsfield units")
    if modality.unit not in ("", "HU"):
        raise UnreadableImage("preset_mismatch", detail="its RescaleType is not HU")
