"""The slices of one series to the volumes that they belong to: by grid first, then, where places collide, by time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from medvlp.io.slices import Place, Slice
from medvlp.io.stacking import by_place

_MOST_GRIDS = 64
_COSINE = 2e-4  # direction cosines of one series are the same numbers, rounded

#: What tells volumes at the same places apart: keyword, the functional group it may stand in, and struct's code where
#: the standard makes it binary. Tried in this order.
_TAGS: tuple[tuple[str, str | None, str | None], ...] = (
    ("TemporalPositionIdentifier", None, None),
    ("TemporalPositionIndex", "FrameContentSequence", "I"),
    ("EchoTime", None, None),
    ("EffectiveEchoTime", "MREchoSequence", "d"),
    ("DiffusionBValue", "MRDiffusionSequence", "d"),
    ("TriggerTime", None, None),
    ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence", "d"),
    ("ImageType", None, None),
    ("AcquisitionNumber", None, None),
    ("AcquisitionTime", None, None),
    ("AcquisitionDateTime", None, None),
)


@dataclass(frozen=True, eq=False)
class Parts:
    """Volumes of one series.

    Attributes:
        parts: the slices of each, in the order of what they differ in.
        differ: what they differ in: "geometry", "size", "pixel spacing", "orientation", "stack", "frame of
            reference", or names of tags.
    """

    parts: tuple[tuple[Slice, ...], ...]
    differ: tuple[str, ...]


def partition(slices: tuple[Slice, ...]) -> Parts:
    """Split the slices of a series into volumes; slices at one place that no tag tells apart stay together.

    Args:
        slices: in the order of their files and frames.
    """
    grids, differ = _by_grid(slices)
    parts: list[tuple[Slice, ...]] = []
    for grid in grids:
        split, tags = _by_tags(grid) if grid[0].place else ([grid], [])
        parts.extend(tuple(part) for part in split)
        differ.extend(tag for tag in tags if tag not in differ)
    return Parts(tuple(parts), tuple(differ))


def _by_grid(slices: tuple[Slice, ...]) -> tuple[list[list[Slice]], list[str]]:
    grids: list[list[Slice]] = []
    for slice_ in slices:
        home = next((grid for grid in grids if not _difference(grid[0], slice_)), None)
        if home is not None:
            home.append(slice_)
        elif len(grids) == _MOST_GRIDS:
            raise slice_.refusal("several_volumes", f"the series has slices of more than {_MOST_GRIDS} grids")
        else:
            grids.append([slice_])
    grids.sort(key=len, reverse=True)
    return grids, list(dict.fromkeys(_difference(grids[0][0], grid[0]) for grid in grids[1:]))


def _difference(a: Slice, b: Slice) -> str:
    """Return why two slices cannot be of one volume, "" where they can."""
    if a.place is None or b.place is None:
        return "" if a.place is b.place else "geometry"
    if a.size != b.size:
        return "size"
    if not _close(a.place.spacing, b.place.spacing, 1e-4 * min(a.place.spacing)):
        return "pixel spacing"
    if not _close(_directions(a.place), _directions(b.place), _COSINE):
        return "orientation"
    if _raw(a, "StackID", "FrameContentSequence") != _raw(b, "StackID", "FrameContentSequence"):
        return "stack"
    return "" if _raw(a, "FrameOfReferenceUID") == _raw(b, "FrameOfReferenceUID") else "frame of reference"


def _directions(place: Place) -> tuple[float, ...]:
    return (*place.along_row, *place.along_column)


def _close(a: tuple[float, ...], b: tuple[float, ...], limit: float) -> bool:
    return all(abs(x - y) <= limit for x, y in zip(a, b, strict=True))


def _raw(slice_: Slice, keyword: str, sequence: str | None = None) -> bytes | None:
    holder = slice_.find(keyword, sequence)
    raw = holder.raw(keyword) if holder else None
    return raw.strip(b" \0") if raw else None


def _by_tags(slices: list[Slice]) -> tuple[list[list[Slice]], list[str]]:
    """Split slices of one grid by the first tags that leave one slice at every place of every part."""
    places = by_place(slices)
    if all(len(place) == 1 for place in places):
        return [slices], []
    where = {id(slice_): index for index, place in enumerate(places) for slice_ in place}
    parts, used = [slices], []
    for tag in _TAGS:
        finer = [piece for part in parts for piece in _groups(part, lambda slice_, tag=tag: _value(slice_, *tag))]
        if len(finer) == len(parts) or any(len({where[id(s)] for s in part}) < len(places) for part in finer):
            continue  # it tells nothing apart, or more than volumes
        parts = finer
        used.append(tag[0])
        if all(len(part) == len(places) for part in parts):
            return parts, used
    return [slices], []


def _groups(slices: list[Slice], key: Callable[[Slice], tuple[Hashable, ...]]) -> list[list[Slice]]:
    found: dict[tuple[Hashable, ...], list[Slice]] = {}
    for slice_ in slices:
        found.setdefault(key(slice_), []).append(slice_)
    return [found[value] for value in sorted(found, key=_sortable)]


def _sortable(value: tuple[Hashable, ...]) -> tuple[tuple[bool, float, str], ...]:
    return tuple((isinstance(part, str), part if isinstance(part, float) else 0.0, str(part)) for part in value)


def _value(slice_: Slice, keyword: str, sequence: str | None, code: str | None) -> tuple[float | str, ...]:
    """Return a tag's values as numbers where they are, so that "10" and "10.0" are the same and 9 comes before 10."""
    holder = slice_.find(keyword, sequence)
    if holder is None:
        return ()
    raw = holder.raw(keyword) or b""
    if code:
        whole = len(raw) == struct.calcsize(holder.order + code)
        return (float(struct.unpack(holder.order + code, raw)[0]),) if whole else (repr(raw),)
    return tuple(_number_or_text(text) for text in holder.texts(keyword))


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
