"""The series of a folder or file: found in one pass over headers; one volume of them chosen, or refused.

Strangers beside a series are counted, damaged slices refused. A volume is chosen where there is only one, or by the
user's number.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR

from medvlp.core.grouped import grouped
from medvlp.io.dicom_file import parse
from medvlp.io.dicom_layout import check_layout
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.geometry import PROJECTION
from medvlp.io.slices import Place, Slice, Source, slices_of
from medvlp.io.sniff import open_regular, sniff
from medvlp.io.stacking import by_place
from medvlp.io.volume import MAX_VOLUME_BYTES, SeriesInfo

_MOST_GRIDS = 64
#: Times of a phase of the heart, other ones in each heartbeat: their order counts.
_BEATS = (("TriggerTime", ""), ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"))
_COSINE = 2e-4  # direction cosines of one series are the same numbers, rounded

#: What tells volumes at the same places apart: keyword, and the functional group it may stand in, with the sequence in
#: it. Tried in this order.
_TAGS = (
    ("TemporalPositionIdentifier", ""),
    ("TemporalPositionIndex", "FrameContentSequence"),
    ("EchoTime", ""),
    ("EffectiveEchoTime", "MREchoSequence"),
    ("DiffusionBValue", "MRDiffusionSequence"),
    ("DiffusionGradientOrientation", "MRDiffusionSequence DiffusionGradientDirectionSequence"),
    *_BEATS,
    ("ImageType", ""),
    ("FrameType", "MRImageFrameTypeSequence"),
    ("ComplexImageComponent", "MRImageFrameTypeSequence"),
    ("AcquisitionNumber", ""),
    ("AcquisitionTime", ""),
    ("AcquisitionDateTime", ""),
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


def _raw(slice_: Slice, keyword: str, sequence: str = "") -> bytes | None:
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
        finer = [x for part in parts for x in (_phases(part, places, tag) if tag in _BEATS else _groups(part, tag))]
        if len(finer) == len(parts) or any(len({where[id(s)] for s in part}) < len(places) for part in finer):
            continue  # it tells nothing apart, or more than volumes
        parts = finer
        used.append(tag[0])
        if all(len(part) == len(places) for part in parts):
            return parts, used
    for tag in _TAGS:  # acquisitions that overlap in part: each a run of places
        runs = _groups(slices, tag)
        found = [sorted(where[id(slice_)] for slice_ in run) for run in runs]
        if all(len(run) > 1 and run == [*range(run[0], run[-1] + 1)] for run in found):
            return runs, [tag[0]]
    return [slices], []


def _groups(slices: Iterable[Slice], tag: tuple[str, str]) -> list[list[Slice]]:
    found = grouped((_value(slice_, *tag), slice_) for slice_ in slices)
    return [found[value] for value in sorted(found)]


def _phases(slices: list[Slice], places: list[list[Slice]], tag: tuple[str, str]) -> list[list[Slice]]:
    """Split by the order of times at each place, if all have as many."""
    own = {id(slice_) for slice_ in slices}
    ordered = [_groups((slice_ for slice_ in place if id(slice_) in own), tag) for place in places]
    if len({len(times) for times in ordered}) > 1:
        return [slices]
    return [[slice_ for pieces in phase for slice_ in pieces] for phase in zip(*ordered, strict=True)]


def _value(slice_: Slice, keyword: str, sequence: str) -> tuple[float | str, ...]:
    """Return a tag's values, numbers where it has such: "10" and "10.0" are the same, and 9 comes before 10."""
    holder = slice_.find(keyword, sequence)
    if holder is None:
        return ()
    numeric = dictionary_VR(keyword) in ("DS", "IS", "FD", "UL")
    return holder.valid_numbers(keyword) if numeric else holder.texts(keyword)


_HELD = 256  # files kept open between header and pixels; a process may have 1024, and has others
#: What may lie beside a series without being a part of it; whatever else cannot be read may be a slice that is missed.
_STRANGERS = ("not_an_image", "unsupported_format", "archive", "not_regular", "directory", "empty", "corrupt")
_LISTED = 12  # series or volumes named in one message
_CHOICE = re.compile(r"(?P<series>[0-9.]{0,64})(:(?P<volume>[0-9]{1,6}))?")


@dataclass(frozen=True, eq=False)
class Found:
    """What a folder or a file holds.

    Attributes:
        series: slices of each series, in the order of their files' names.
        uids: their Series Instance UIDs, for a user who names one; told to nobody.
        left_out: reason -> number of files that hold no image.
    """

    series: tuple[tuple[Slice, ...], ...]
    uids: tuple[bytes, ...]
    left_out: dict[str, int]

    @property
    def infos(self) -> tuple[SeriesInfo, ...]:
        """Each series without anything that identifies it."""
        return tuple(
            SeriesInfo(
                number, slices[0].modality, len(slices), *slices[0].size,
                localizer=all(slice_.unsuited == "localizer" for slice_ in slices),
            )
            for number, slices in enumerate(self.series, 1)
        )  # fmt: skip


def find_series(path: str | os.PathLike[str], shelf: ExitStack, files: Sequence[Path] = ()) -> Found:
    """Read the headers of a DICOM file, of all in a folder (not its subfolders), or of `files`; group them by series.

    The shelf holds the files open until the pixels have been read.
    """
    is_folder = Path(path).is_dir()
    names = sorted(entry.path for entry in os.scandir(path)) if is_folder else list(map(str, files or [path]))
    groups: dict[bytes, list[Slice]] = {}
    left_out: Counter[str] = Counter()
    held = inflated = 0
    for name in names:
        source = _open(name, shelf if held < _HELD else None, strict=not is_folder)
        if isinstance(source, str):
            left_out[source] += 1
            continue
        held += 1
        stream = source.parsed.stream
        inflated += stream.getbuffer().nbytes if isinstance(stream, io.BytesIO) else 0
        if inflated > MAX_VOLUME_BYTES:
            raise UnreadableImage("too_large", detail=f"its deflated files hold more than {MAX_VOLUME_BYTES} bytes")
        uid = (source.parsed.header.raw("SeriesInstanceUID") or b"").strip(b" \0")
        with refusing(name):
            groups.setdefault(uid, []).extend(slices_of(source))
    if not groups:
        raise UnreadableImage("no_series", detail=f"none of its {len(names)} files and folders is a DICOM image")
    return Found(tuple(map(tuple, groups.values())), tuple(groups), dict(left_out))


def _open(name: str, shelf: ExitStack | None, *, strict: bool) -> Source | str:
    """Read a file's header; keep the file open on the shelf if there is one; a reason where it is no DICOM image."""
    with refusing(name), ExitStack() as local:
        try:
            stream = local.enter_context(open_regular(name))
            if sniff(stream) != "dicom":
                return "not_dicom"
        except UnreadableImage as error:
            if strict or error.reason not in _STRANGERS:
                raise
            return error.reason
        try:
            parsed = parse(stream)
        except UnreadableImage as error:
            if strict or error.reason != "no_pixels":
                raise
            return error.reason
        notes = list(parsed.warnings)
        source = Source(name, parsed, check_layout(parsed, notes), tuple(notes))
        if shelf is not None:
            shelf.enter_context(local.pop_all())
        return source


@dataclass(frozen=True, eq=False)
class Chosen:
    """The slices of one volume, how many slices of its series are none of it, by reason, and the series' number."""

    slices: tuple[Slice, ...]
    left_out: dict[str, int]
    number: int


def choose(found: Found, series: int | str | None) -> Chosen:
    """Choose the slices of one volume; localizers are never chosen.

    `series` is its number or Series Instance UID, ``":n"`` appended for its n-th volume; None where there is only one
    that can be a volume. Else it is refused: ``several_series``, ``several_volumes``, ``other_size``, ``bad_series``,
    ``no_geometry`` or ``not_a_volume``.
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
    listed = "; ".join(info.words for info in found.infos[:_LISTED])
    more = len(found.series) - _LISTED
    return f"{listed}; and {more} more" if more > 0 else listed


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
    odd = parts.parts[-1][0]
    own = "save each as a file" if odd.source.layout.frames > 1 else "put the files of each into a folder"
    more = " ..." if len(parts.parts) > _LISTED else ""
    hint = f"choose one: {', '.join(names)}{more}, or {own} of its own"
    differ = " and ".join(parts.differ)
    if "geometry" in parts.differ:
        lacking = next(part[0] for part in parts.parts if part[0].place is None)
        return lacking.refusal("no_geometry", f"{lacking.lack}, other slices of its series have it", hint)
    if set(parts.differ) <= {"size", "pixel spacing"}:
        rows, columns = odd.size
        return odd.refusal("other_size", f"it is {rows} x {columns} and of another {differ} than most slices", hint)
    detail = f"its series {number} holds {len(parts.parts)} volumes that differ in {differ}"
    return UnreadableImage("several_volumes", detail=detail, hint=hint)
