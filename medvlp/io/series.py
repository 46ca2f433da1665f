"""The series of a folder or file: found in one pass over headers; strangers are counted, damaged slices refused."""

from __future__ import annotations

import io
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from medvlp.io.dicom_file import parse
from medvlp.io.dicom_layout import check_layout
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.geometry_report import SeriesInfo
from medvlp.io.slices import Slice, Source, slices_of
from medvlp.io.sniff import open_regular, sniff
from medvlp.io.volume import MAX_VOLUME_BYTES

__all__ = ["Found", "find_series"]

_HELD = 256  # files kept open between header and pixels; a process may have 1024, and has others
#: What may lie beside a series without being a part of it; whatever else cannot be read may be a slice that is missed.
_STRANGERS = ("not_an_image", "unsupported_format", "archive", "not_regular", "directory", "empty", "corrupt")


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
        return tuple(_info(number, slices) for number, slices in enumerate(self.series, 1))


def find_series(path: str | os.PathLike[str], shelf: ExitStack) -> Found:
    """Read the headers of a DICOM file, or of all DICOM files in a folder, and group them by series.

    Args:
        path: a file or a folder; its subfolders are not searched.
        shelf: holds the files open until the pixels have been read.

    Raises:
        UnreadableImage: a DICOM file is damaged, or there is none.
    """
    is_folder = Path(path).is_dir()
    names = sorted(entry.path for entry in os.scandir(path)) if is_folder else [os.fspath(path)]
    groups: dict[bytes, list[Slice]] = {}
    left_out: Counter[str] = Counter()
    held = inflated = 0
    for name in names:
        source = _open(name, shelf if held < _HELD else None, strict=not is_folder)
        if isinstance(source, str):
            left_out[source] += 1
            continue
        held += 1
        inflated += _bytes_in_memory(source)
        if inflated > MAX_VOLUME_BYTES:
            raise UnreadableImage("too_large", detail=f"its deflated files hold more than {MAX_VOLUME_BYTES} bytes")
        uid = (source.parsed.header.raw("SeriesInstanceUID") or b"").strip(b" \0")
        with refusing(name):
            groups.setdefault(uid, []).extend(slices_of(source))
    if not groups:
        raise UnreadableImage("no_series", detail=f"none of its {len(names)} files is a DICOM image")
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


def _bytes_in_memory(source: Source) -> int:
    stream = source.parsed.stream
    return stream.getbuffer().nbytes if isinstance(stream, io.BytesIO) else 0


def _info(number: int, slices: tuple[Slice, ...]) -> SeriesInfo:
    rows, columns = slices[0].size
    localizer = all(slice_.unsuited == "localizer" for slice_ in slices)
    return SeriesInfo(number, slices[0].modality, len(slices), rows, columns, localizer)
