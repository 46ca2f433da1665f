"""The pixels of a DICOM file with text in them painted over; or as they are, where there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from medvlp.io.deidentify.burned_in import find_text
from medvlp.io.dicom import rgb_of
from medvlp.io.dicom_file import SEGMENTATIONS, SLICES, parse
from medvlp.io.dicom_frames import native_length, read_frame
from medvlp.io.dicom_layout import Layout, check_layout
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Account

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
#: CT, MR, PET and NM, and their enhanced kinds (SLICES), as the scanner made them: numbers that nobody writes into, and
#: a mask that is wrong would spoil them. Their screen shots are secondary captures, their annotated copies DERIVED.
_SCANNED = ["ORIGINAL", "PRIMARY"]
_START = re.compile(rb"\xfe\xff\x00\xe0(.{4})\xff[\xd8\x4f]", re.DOTALL)  # an item where a JPEG or JPEG 2000 begins
_NEXT = re.compile(rb"\xff[\x90-\xcf\xd8-\xfe]")  # a marker behind a picture's data, which may hold others
#: Markers of comments and of what applications write (EXIF, with names and places); APP0, 2, 8 and 14 tell of colours.
_SAID = {0x64, 0xFE, *range(0xE1, 0xF0)} - {0xE2, 0xE8, 0xEE}
_DATA, _END = (0xDA, 0x93), 0xD9  # of the data of a scan or a tile, and of the end of the picture


@dataclass(frozen=True)
class Searched:
    """Whether the pixels were searched, the frames with text, and the share of all pixels that was painted over."""

    seen: bool
    frames: int = 0
    share: float = 0.0


def clean_pixels(dataset: Dataset, stream: BinaryIO, *, mode: Literal["mask", "flag", "keep"]) -> Searched:
    """Search every frame for burned-in text, and in ultrasound for what lies outside its regions; paint it over.

    Where something is painted over, or an overlay stands in the unused bits of the pixels, the pixels of `dataset` are
    replaced by uncompressed ones; else they are left as they are, bit for bit, without what stands beside and behind
    them. `mode` "flag" refuses a file with text instead (``burned_in``), "keep" looks for none. A file that says that
    it has text, and none is found, is refused.
    """
    parsed = parse(stream)
    element = next(dataset[name] for name in PIXELS if name in dataset)
    if parsed.length is None:
        element.value = _without_words(element.value)
    else:  # of an odd number of bytes the last pixel may be the even one (PS3.5 8.1.1)
        length = native_length(parsed, check_layout(parsed, []), [])
        element.value = element.value[: length + length % 2]
    stated = str(dataset.get("BurnedInAnnotation", "")).upper()
    # An overlay may stand in the pixels' unused bits (PS3.5 8.1.2, retired), at bit 0 too if it has no Overlay Data.
    overlays = [tag for tag in list(dataset.keys()) if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102]
    beside = any(dataset[tag].value or (tag.group, 0x3000) not in dataset for tag in overlays)
    scanned = str(dataset.SOPClassUID) in SLICES and list(dataset.get("ImageType", []))[:2] == _SCANNED
    search = mode != "keep" and (stated == "YES" or not scanned)
    if not search and not beside:
        return Searched(seen=False)
    notes: list[str] = []
    layout = check_layout(parsed, notes)
    if str(dataset.SOPClassUID) in SEGMENTATIONS or layout.bits_allocated == 1 or layout.kind != "int":
        return Searched(seen=False)  # a segmentation or a parametric map: no text is ever drawn into it
    outside = _outside_regions(dataset, layout)
    painted, shares, photometric = [], [], layout.photometric
    for number in range(layout.frames):
        frame = read_frame(parsed, layout, number, notes)
        gray = layout.samples == 1 and layout.photometric != "PALETTE COLOR"
        picture = frame.values if gray else rgb_of(frame, layout, parsed.header, Account())
        mask = find_text(picture) | outside if search else np.zeros(picture.shape[:2], bool)
        light = -picture.astype(np.float64) if layout.photometric == "MONOCHROME1" else picture
        painted.append(_painted(frame.values, mask, light))
        shares.append(float(mask.mean()))
        photometric = frame.photometric
    frames = sum(share > 0 for share in shares)
    if search and stated == "YES" and frames == 0:
        raise UnreadableImage("burned_in", detail="it says that text is burned in, and none was found")
    if frames and mode == "flag":
        raise UnreadableImage("burned_in", detail=f"text was found in {frames} of its {layout.frames} frames")
    if not frames and not beside:
        return Searched(seen=True)
    _replace(dataset, np.stack(painted), layout, photometric)
    if frames:
        dataset.BurnedInAnnotation = "NO"
    return Searched(seen=search, frames=frames, share=float(np.mean(shares)))


def _without_words(data: bytes) -> bytes:
    """Return encapsulated pixel data with zeros for all that its JPEG streams say beside the picture (T.81 B.2.4)."""
    clean = bytearray(data)
    for found in _START.finditer(data):
        at, stop = found.end(), min(found.end() - 2 + int.from_bytes(found[1], "little"), len(data))
        while at + 1 < stop and data[at] == 0xFF:
            marker, said = data[at + 1], at + 4
            end = at + (1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : said]))  # a fill byte, or a segment
            if marker in _DATA:
                end = behind.start() if (behind := _NEXT.search(data, at + 2, stop)) else stop
            if marker == _END:  # behind it a camera may hang another picture, with words of its own
                said, end = at + 2, stop
            if marker in (*_SAID, _END):
                clean[said:end] = bytes(len(clean[said:end]))
            at = end
    return bytes(clean)


def _painted(values: np.ndarray, mask: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Put the value of the frame's darkest pixel where the mask is."""
    if not mask.any():
        return values
    light = shown.astype(np.float64) if shown.ndim == 2 else shown.sum(axis=-1, dtype=np.float64)
    values = values.copy()
    values[mask] = values[np.unravel_index(light.argmin(), light.shape)]
    return values


def _replace(dataset: Dataset, values: np.ndarray, layout: Layout, photometric: str) -> None:
    width = layout.bits_allocated // 8
    # A big endian file stays one: other words in it (lookup tables) would have to be turned too.
    big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    data = values.astype(f"{'>' if big else '<'}{'i' if layout.signed else 'u'}{width}").tobytes()
    dataset.add_new(0x7FE00010, "OB" if width == 1 else "OW", data + b"\0" * (len(data) % 2))
    dataset["PixelData"].is_undefined_length = False
    # What was read has three samples a pixel, however few colours the file held.
    dataset.PhotometricInterpretation = "YBR_FULL" if photometric == "YBR_FULL_422" else photometric
    if values.shape[-1] == 3 and values.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.BitsStored, dataset.HighBit = layout.bits_stored, layout.bits_stored - 1
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian


def _outside_regions(dataset: Dataset, layout: Layout) -> np.ndarray:
    """What no region of an ultrasound calibrates (PS3.3 C.8.5.5): where machines write names."""
    mask = np.zeros((layout.rows, layout.columns), bool)
    regions = dataset.get("SequenceOfUltrasoundRegions")
    if not regions or str(dataset.get("BurnedInAnnotation", "")).upper() == "NO":
        return mask
    mask[:] = True
    for region in regions:
        x0, y0 = int(region.RegionLocationMinX0), int(region.RegionLocationMinY0)
        mask[y0 : int(region.RegionLocationMaxY1) + 1, x0 : int(region.RegionLocationMaxX1) + 1] = False
    return mask
