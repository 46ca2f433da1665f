"""Files that somebody dropped to a study that a page can hang: series, frames or volumes, and what could not be read.

Nothing of a file leaves here but values, geometry and allow-listed facts: no name, identifier, date or path.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from medvlp.core.errors import UserError
from medvlp.io.archive import is_archive, unpacked
from medvlp.io.dicom_file import parse
from medvlp.io.dicom_layout import check_layout
from medvlp.io.dicom_volume import read_dicom_volume
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.frame_values import DISPLAY, Frame, read_frames
from medvlp.io.geometry import PROJECTION
from medvlp.io.image import Image
from medvlp.io.read import read_image
from medvlp.io.series import partition
from medvlp.io.slices import Slice, Source, slices_of
from medvlp.io.sniff import open_regular, sniff
from medvlp.io.stored_volume import StoredVolume, stored_volume
from medvlp.io.volume import Volume
from medvlp.io.volume_read import read_volume
from medvlp.serving.documents import frame_document, volume_document

MOST_FILES = 5000
_MOST_VOLUMES = 12  # of one series
_MOST_FRAME_BYTES = 1 << 30  # of one series
_MOST_PAGES = 300  # of one TIFF: each is found from the first on
_FRONTAL, _LATERAL = ("PA", "AP"), ("LL", "RL", "LATERAL", "LAT")
_PIXELS = "<i2", "<u2"


@dataclass(frozen=True, eq=False)
class Series:
    """What hangs in one place: the frames of a file, or a volume.

    Attributes:
        title: modality and view, for people.
        visit: 0 for the study's newest date, 1 for the one before, ...
        view: "frontal", "lateral" or "".
        content: frames of pictures, or a volume.
        document: what the page is told.
        meta: allow-listed facts.
        headers: of each frame's DICOM file, None of another file, for exports that must refer to it; told to nobody
            else. Empty of a volume.
        images: preset -> its first frame as that preset reads it, where a model asks for another than the display's.
    """

    title: str
    visit: int
    view: str
    content: tuple[Frame, ...] | StoredVolume
    document: dict[str, Any]
    meta: dict[str, str | int | float]
    headers: tuple[Dataset | None, ...] = ()
    images: dict[str, Image] = field(default_factory=dict)

    @property
    def memory(self) -> int:
        """Bytes of its values."""
        if isinstance(self.content, StoredVolume):
            return self.content.values.nbytes
        return sum(frame.memory for frame in self.content) + sum(image.pixels.nbytes for image in self.images.values())

    def pixels(self, first: int, last: int) -> bytes:
        """Return the values of frames or slices ``first`` to ``last`` (not included), little endian 16 bits.

        Raises:
            IndexError: there are no such frames.
        """
        many = len(self.content.values) if isinstance(self.content, StoredVolume) else len(self.content)
        if not 0 <= first < last <= many:
            raise IndexError
        if isinstance(self.content, StoredVolume):
            return self.content.values[first:last].astype("<i2", copy=False).tobytes()
        parts = (frame.values for frame in self.content[first:last])
        return b"".join(part.astype(_PIXELS[part.dtype == np.uint16], copy=False).tobytes() for part in parts)

    def colours(self, frame: int) -> bytes:
        """Return red, green and blue of each pixel of a frame, 8 bits each.

        Raises:
            IndexError: there is no such frame, or it has no colours.
        """
        held = () if isinstance(self.content, StoredVolume) else self.content
        if not 0 <= frame < len(held) or (rgb := held[frame].rgb) is None:
            raise IndexError
        return rgb.tobytes()

    def source(self, preset: str | None) -> Image | StoredVolume:
        """Return what a model of that preset looks at: a volume, or the first frame; one parse for viewer and model.

        Raises:
            UserError: that preset refuses the picture.
        """
        if isinstance(self.content, StoredVolume):
            return self.content
        if preset in (None, DISPLAY):
            return self.content[0].image()
        if preset not in self.images:
            raise UserError(f"The model reads pictures by {preset}, which does not fit this one: choose another model.")
        return self.images[preset]


@dataclass(frozen=True, eq=False)
class Study:
    """An uploaded study: its series, reports and problems.

    Attributes:
        series: in hanging order.
        stages: which series hang beside each other, the first stage first.
        refused: (reason, sentence, how many files) of what could not be read.
        digest: sha256 of the files, for the audit log.
        report: text that came with it (of a synthetic study), else "".
    """

    series: tuple[Series, ...]
    stages: tuple[tuple[int, ...], ...]
    refused: tuple[tuple[str, str, int], ...]
    digest: str
    report: str = ""

    @property
    def memory(self) -> int:
        """Bytes of its values."""
        return sum(each.memory for each in self.series)

    @property
    def document(self) -> dict[str, Any]:
        """What the page is told."""
        return {
            "series": [
                {"title": each.title, "visit": each.visit, "view": each.view, **each.document} for each in self.series
            ],
            "stages": self.stages,
            "refused": [{"reason": reason, "sentence": sentence, "files": n} for reason, sentence, n in self.refused],
            "report": self.report,
        }


def read_study(paths: Iterable[Path], *, report: str = "", presets: tuple[str, ...] = ()) -> Study:
    """Read files, folders and archives as one study; one file that cannot be read stops no other, none is moved.

    Args:
        paths: in the order in which they came.
        report: text that belongs to it.
        presets: by which models read pictures, if not as the display shows them.

    Raises:
        UnreadableImage: nothing of it can be shown; the reason is that of the first file.
        UserError: the files are of several patients.
    """
    refused: list[UnreadableImage] = []
    digest = hashlib.sha256()
    with ExitStack() as shelf:
        files = list(_files(paths, shelf, refused))
        if len(files) > MOST_FILES:
            raise UnreadableImage("too_large", detail=f"{len(files)} files are more than {MOST_FILES}")
        found = list(_series(files, digest, refused, presets))
    if not found:
        raise refused[0] if refused else UnreadableImage("empty", detail="there is no file")
    series = tuple(sorted(found, key=_place))
    counted = Counter((error.reason, f"{error.detail}; {error.hint}") for error in refused)
    counts = tuple((reason, sentence, many) for (reason, sentence), many in counted.items())
    return Study(series, _stages(series), counts, digest.hexdigest(), report)


def _files(paths: Iterable[Path], shelf: ExitStack, refused: list[UnreadableImage]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
            continue
        try:
            with open_regular(path) as stream:
                archive = is_archive(stream)
            yield from _files([shelf.enter_context(unpacked(path))], shelf, refused) if archive else [path]
        except UnreadableImage as error:
            refused.append(error)


@dataclass(frozen=True, eq=False)
class _File:
    path: Path
    slices: tuple[Slice, ...]
    when: str

    @property
    def in_volume(self) -> bool:
        """Whether it can be a part of a volume."""
        first = self.slices[0]
        return not first.unsuited and first.place is not None and first.modality not in PROJECTION

    @property
    def number(self) -> float:
        """Instance Number, which orders what is leafed through."""
        return next(iter(self.slices[0].groups[-1].valid_numbers("InstanceNumber")), 0.0)


def _series(
    files: list[Path], digest: hashlib._Hash, refused: list[UnreadableImage], presets: tuple[str, ...]
) -> Iterator[Series]:
    groups: dict[tuple[bytes, bytes], list[_File]] = defaultdict(list)
    people: set[bytes] = set()
    others: list[tuple[Path, str]] = []
    for path in files:
        try:
            with open_regular(path) as stream, refusing(path):
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                stream.seek(0)
                kind = sniff(stream)
                if kind != "dicom":
                    others.append((path, kind))
                    continue
                parsed = parse(stream)
                header = parsed.header
                slices = slices_of(Source(str(path), parsed, check_layout(parsed, []), ()))
                people.add((header.raw("PatientID") or b"").strip(b" \0"))  # compared, told to nobody
                when = (header.text("StudyDate") or "") + (header.text("StudyTime") or "")
                uids = (header.raw("StudyInstanceUID") or b"", header.raw("SeriesInstanceUID") or b"")
                groups[uids].append(_File(path, slices, when))
                parsed.stream.close()  # a deflated data set would be held till the last file is read
        except UnreadableImage as error:
            refused.append(error)
    people.discard(b"")
    if len(people) > 1:
        raise UserError(f"The files are of {len(people)} patients: open those of one, so that none is mixed up.")
    dates: dict[bytes, str] = defaultdict(str)  # of a study: its time is 101500 here, 101500.000 there, or missing
    for (study, uid), group in groups.items():
        dates[study or uid] = max(dates[study or uid], group[0].when)
    visits = sorted({*dates.values()} - {""}, reverse=True)
    for (study, uid), group in groups.items():
        visit = visits.index(dates[study or uid]) if dates[study or uid] else 0
        ordered = sorted(group, key=lambda file: file.number)
        loose = [file for file in ordered if not file.in_volume]
        yield from _stacked([file for file in ordered if file.in_volume], visit, loose, refused)
        yield from _images(loose, visit, refused, presets)
    for path, kind in others:
        if kind == "nifti":
            try:
                yield _volume(read_volume(path), 0)
            except UnreadableImage as error:
                refused.append(error)
        else:
            yield from _frames([path], 0, refused, presets)


def _stacked(files: list[_File], visit: int, loose: list[_File], refused: list[UnreadableImage]) -> Iterator[Series]:
    """Read the volumes of one series, repaired where they can be; files of what is none are added to `loose`."""
    volumes: list[tuple[int, tuple[Slice, ...]]] = []
    try:
        parts = partition(tuple(slice_ for file in files for slice_ in file.slices)).parts
        volumes = [(n, part) for n, part in enumerate(parts, 1) if len({slice_.place for slice_ in part}) > 1]
    except UnreadableImage as error:
        refused.append(error)
    shown = {slice_.source.path for _, part in volumes for slice_ in part}
    frames = any(len(file.slices) > 1 for file in files)  # else a volume has files of its own
    for number, part in volumes[:_MOST_VOLUMES]:
        paths = [file.path for file in files] if frames else [Path(slice_.source.path) for slice_ in part]
        asked = f"1:{number if frames else 1}"
        try:
            read = read_dicom_volume(paths[0], files=paths, series=asked, on_gap="resample", on_tilt="shear")
            yield _volume(read, visit)
        except UnreadableImage as error:
            which = (f"Instance Number {f.number:g}: " for f in files if f.number and str(f.path) == error.path)
            detail = f"its {len(part)} slices are shown one by one, not as a volume: {next(which, '')}{error.detail}"
            refused.append(UnreadableImage(error.reason, detail=detail, hint=error.hint))
            shown -= {slice_.source.path for slice_ in part}
    if len(volumes) > _MOST_VOLUMES:
        detail = f"only its first {_MOST_VOLUMES} volumes are shown"
        refused.append(UnreadableImage("too_large", detail=detail, hint="bring the others alone"))
    loose += [file for file in files if str(file.path) not in shown]


def _volume(volume: Volume, visit: int) -> Series:
    stored = stored_volume(volume)
    bare = replace(volume, voxels=np.empty(0, np.float32))
    modality = str(volume.meta.get("Modality", "NIfTI"))
    return Series(f"{modality} volume", visit, "", stored, volume_document(bare, stored), dict(volume.meta))


def _images(
    files: list[_File], visit: int, refused: list[UnreadableImage], presets: tuple[str, ...]
) -> Iterator[Series]:
    """Radiographs hang one by one; slices that are no volume are leafed through."""
    alike: dict[object, list[Path]] = defaultdict(list)
    for file in files:
        first = file.slices[0]
        single = first.modality in PROJECTION or first.source.layout.frames > 1
        alike[file.path if single else (file.in_volume, first.size)].append(file.path)
    for paths in alike.values():
        yield from _frames(paths, visit, refused, presets)


def _frames(
    paths: list[Path], visit: int, refused: list[UnreadableImage], presets: tuple[str, ...]
) -> Iterator[Series]:
    frames: list[Frame] = []
    headers: list[Dataset | None] = []
    first, room = paths[0], _MOST_FRAME_BYTES
    for path in paths:
        number, total, most, odd = 0, 1, 1, 0
        header: Dataset | None = None
        found = read_frames(path)
        while number < most and room > 0:
            try:
                frame = next(found)
            except UnreadableImage as error:
                refused.append(error)
                break
            if number == 0:
                header = _header(path, frame.meta)
            if not frames:
                first = path
            room -= frame.memory
            if not frames or frames[0].values.shape == frame.values.shape:
                frames.append(frame)
                headers.append(header)
            else:
                odd += 1
            number, total = number + 1, frame.frames
            most = min(total, _MOST_PAGES) if "Format" in frame.meta else total
        else:
            if number < total:
                refused.append(UnreadableImage("too_large", detail=f"only its first {len(frames)} frames are shown"))
        if odd:
            refused.append(_other_size(odd, total, frames[0]))
    if not frames:
        return
    meta = frames[0].meta
    written = str(meta.get("ViewPosition", "")).upper()
    view = "frontal" if written in _FRONTAL else "lateral" if written in _LATERAL else ""
    words = (str(meta.get("Modality", meta.get("Format", ""))), written)
    title = " ".join(word for word in words if word) or "Picture"
    images = {}
    for preset in {*presets} - {DISPLAY}:
        with suppress(UnreadableImage):  # `source` says so when that model is asked
            images[preset] = read_image(first, preset=preset, frame=0)
    yield Series(title, visit, view, tuple(frames), frame_document(frames), dict(meta), tuple(headers), images)


def _other_size(odd: int, total: int, first: Frame) -> UnreadableImage:
    rows, columns = first.values.shape
    which = f"{odd} of its {total} frames" if total > 1 else "it"
    detail = f"{which} cannot be leafed through with the first picture, which has {rows} x {columns} pixels"
    return UnreadableImage("other_size", detail=detail, hint="bring pictures of another size one by one")


def _header(path: Path, meta: dict[str, str | int | float]) -> Dataset | None:
    if "SOPClassUID" not in meta:
        return None
    try:
        return dcmread(path, stop_before_pixels=True)
    except Exception:  # pydicom has many; the picture itself was read by other means
        return None


def _place(series: Series) -> tuple[int, int, int]:
    slices = len(series.content.values) if isinstance(series.content, StoredVolume) else 0
    return series.visit, -slices, {"frontal": 0, "lateral": 1}.get(series.view, 2)


def _stages(series: tuple[Series, ...]) -> tuple[tuple[int, ...], ...]:
    """Which series hang together: frontal and lateral, then current and prior frontal, then each alone."""
    single = [(number,) for number in range(len(series))]
    images = [n for n, each in enumerate(series) if not isinstance(each.content, StoredVolume)]
    stages: list[tuple[int, ...]] = []
    now = [n for n in images if series[n].visit == 0]
    frontal = next((n for n in now if series[n].view == "frontal"), None)
    lateral = next((n for n in now if series[n].view == "lateral"), None)
    prior = next((n for n in images if series[n].visit > 0 and series[n].view == "frontal"), None)
    if frontal is not None and lateral is not None:
        stages.append((frontal, lateral))
    if frontal is not None and prior is not None:
        stages.append((frontal, prior))
    return (*stages, *single)
