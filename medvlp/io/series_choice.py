"""One volume of all that a folder or file holds: chosen where there is one, or by the user's number; else refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from medvlp.io.errors import UnreadableImage
from medvlp.io.geometry import PROJECTION
from medvlp.io.partition import Parts, partition
from medvlp.io.series import Found
from medvlp.io.slices import Slice

__all__ = ["Chosen", "choose"]

_LISTED = 12  # series or volumes told in one message
_CHOICE = re.compile(r"(?P<series>[0-9.]{0,64})(:(?P<volume>[0-9]{1,6}))?")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The slices of one volume, and how many slices of its series are none of it, by reason."""

    slices: tuple[Slice, ...]
    left_out: dict[str, int]
    number: int


def choose(found: Found, series: int | str | None) -> Chosen:
    """Choose the slices of one volume.

    Args:
        found: what there is.
        series: number of the series or its Series Instance UID, ``":n"`` appended for its n-th volume; None where
            there is only one that can be a volume. Localizers are never chosen.

    Raises:
        UnreadableImage: ``several_series``, ``several_volumes``, ``other_size``, ``bad_series``, ``no_geometry`` or
            ``not_a_volume``.
    """
    number, volume = _asked(found, series)
    if number is None:
        fit = [index for index, slices in enumerate(found.series, 1) if any(_suits(slice_) for slice_ in slices)]
        if len(fit) > 1:
            raise UnreadableImage("several_series", detail=f"it holds {len(found.series)} series ({_listing(found)})")
        if not fit:
            raise _why_none([slice_ for slices in found.series for slice_ in slices])
        number = fit[0]
    slices = found.series[number - 1]
    if not any(_suits(slice_) for slice_ in slices):
        raise _why_none(list(slices))
    parts = partition(tuple(slice_ for slice_ in slices if not slice_.unsuited))
    if volume is None and len(parts.parts) > 1:
        raise _which_part(parts, number)
    if volume is not None and not 1 <= volume <= len(parts.parts):
        raise UnreadableImage("bad_series", detail=f"volume {volume} was asked for, it has {len(parts.parts)}")
    part = parts.parts[(volume or 1) - 1]
    left_out = Counter(slice_.unsuited for slice_ in slices if slice_.unsuited)
    others = sum(map(len, parts.parts)) - len(part)
    if others:
        left_out[f"other {', '.join(parts.differ)}"] += others
    return Chosen(part, dict(left_out), number)


def _suits(slice_: Slice) -> bool:
    return not slice_.unsuited and slice_.place is not None


def _asked(found: Found, series: int | str | None) -> tuple[int | None, int | None]:
    """Return the numbers, from 1, of the series and of its volume that the user named."""
    if series is None:
        return None, None
    match = _CHOICE.fullmatch(str(series))
    name = match["series"] if match else ""
    volume = int(match["volume"]) if match and match["volume"] else None
    if name and name.encode() in found.uids:
        return found.uids.index(name.encode()) + 1, volume
    if name.isdigit() and 1 <= int(name) <= len(found.series):
        return int(name), volume
    if match and not name and volume is not None:
        return None, volume
    raise UnreadableImage(
        "bad_series", detail=f"the series asked for is none of its {len(found.series)} series ({_listing(found)})"
    )


def _listing(found: Found) -> str:
    told = "; ".join(info.words for info in found.infos[:_LISTED])
    more = len(found.series) - _LISTED
    return f"{told}; and {more} more" if more > 0 else told


def _why_none(slices: list[Slice]) -> UnreadableImage:
    """Return why no slice of these can be in a volume."""
    first = next((slice_ for slice_ in slices if not slice_.unsuited), slices[0])
    if first.unsuited:
        return first.refusal("not_a_volume", f"there is nothing but a {first.unsuited}")
    if first.modality in PROJECTION:
        return first.refusal("not_a_volume", f"it is a 2D image ({first.modality})")
    return first.refusal("no_geometry", first.lack)


def _which_part(parts: Parts, number: int) -> UnreadableImage:
    """Return the refusal of a series that holds several volumes; it names each and how to choose it."""
    names = [
        f'series="{number}:{index}" (slices: {len(part)}, of {part[0].size[0]} x {part[0].size[1]})'
        for index, part in enumerate(parts.parts[:_LISTED], 1)
    ]
    hint = f"choose one: {', '.join(names)}" + (" ..." if len(parts.parts) > _LISTED else "")
    odd = parts.parts[-1][0]
    differ = " and ".join(parts.differ)
    if "geometry" in parts.differ:
        lacking = next(part[0] for part in parts.parts if part[0].place is None)
        return lacking.refusal("no_geometry", f"{lacking.lack}, other slices of its series have it", hint)
    if set(parts.differ) <= {"size", "pixel spacing"}:
        rows, columns = odd.size
        return odd.refusal("other_size", f"it is {rows} x {columns} and of another {differ} than most slices", hint)
    return UnreadableImage(
        "several_volumes",
        detail=f"its series {number} holds {len(parts.parts)} volumes that differ in {differ}",
        hint=hint,
    )
