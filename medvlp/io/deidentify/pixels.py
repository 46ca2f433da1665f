"""The pixels of a DICOM file with text in them painted over; or as they are, where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from pydicom.dataset import Dataset

from medvlp.io.deidentify.burned_in import find_text
from medvlp.io.dicom_file import parse
from medvlp.io.dicom_frames import read_frame
from medvlp.io.dicom_layout import Layout, check_layout
from medvlp.io.errors import UnreadableImage

__all__ = ["Searched", "clean_pixels"]


@dataclass(frozen=True)
class Searched:
    """What was found in the pixels.

    Attributes:
        seen: whether they were searched.
        frames: frames with text.
        share: of all pixels painted over.
    """

    seen: bool
    frames: int = 0
    share: float = 0.0


def clean_pixels(dataset: Dataset, stream: BinaryIO, *, mode: Literal["mask", "flag"]) -> Searched:
    """Search every frame for burned-in text, and in ultrasound for what lies outside its regions; paint it over.

    Where something is painted over, or an overlay stands in the unused bits of the pixels, the file's pixels are
    replaced by uncompressed ones; else they are left as they are, bit for bit.

    Args:
        dataset: the file's, changed in place.
        stream: the same file, at its start.
        mode: "flag" refuses a file with text instead.

    Raises:
        UnreadableImage: ``no_pixels``, ``no_decoder`` or damage; ``burned_in`` where text is found and only flagged, or
            where the file says that there is text and none was found.
    """
    notes: list[str] = []
    parsed = parse(stream)
    layout = check_layout(parsed, notes)
    if layout.bits_allocated == 1 or layout.kind != "int":
        return Searched(seen=False)  # a segmentation or a parametric map: no text is ever drawn into it
    if layout.photometric == "PALETTE COLOR":
        raise UnreadableImage("unsupported_format", detail="text is not looked for in pictures of a colour palette")
    stored = [read_frame(parsed, layout, frame, notes) for frame in range(layout.frames)]
    outside = _outside_regions(dataset, layout)
    masks = [find_text(frame.values, signed_dark=frame.photometric == "MONOCHROME1") | outside for frame in stored]
    frames, share = sum(bool(mask.any()) for mask in masks), float(np.mean([mask.mean() for mask in masks]))
    says = str(dataset.get("BurnedInAnnotation", "")).upper()
    if says == "YES" and frames == 0:
        raise UnreadableImage("burned_in", detail="it says that text is burned in, and none was found")
    if frames and mode == "flag":
        raise UnreadableImage("burned_in", detail=f"text was found in {frames} of its {layout.frames} frames")
    if not frames and not _bits_beside(dataset):
        return Searched(seen=True)
    painted = [_painted(frame.values, mask, frame.photometric) for frame, mask in zip(stored, masks, strict=True)]
    _replace(dataset, np.stack(painted), layout, stored[0].photometric)
    if frames:
        dataset.BurnedInAnnotation = "NO"
    return Searched(seen=True, frames=frames, share=share)


def _painted(values: np.ndarray, mask: np.ndarray, photometric: str) -> np.ndarray:
    """Black where the mask is, by the frame's own darkest value."""
    if not mask.any():
        return values
    values = values.copy()
    values[mask] = values.max() if photometric == "MONOCHROME1" else (values.min() if values.ndim == 2 else _black(values))
    return values


def _black(values: np.ndarray) -> np.ndarray:
    pixels = values.reshape(-1, values.shape[-1])
    return pixels[pixels.sum(axis=1, dtype=np.int64).argmin()]


def _replace(dataset: Dataset, values: np.ndarray, layout: Layout, photometric: str) -> None:
    from pydicom.uid import ExplicitVRLittleEndian

    width = layout.bits_allocated // 8
    data = values.astype(f"<{'i' if layout.signed else 'u'}{width}").tobytes()
    dataset.add_new(0x7FE00010, "OB" if width == 1 else "OW", data + b"\0" * (len(data) % 2))
    dataset["PixelData"].is_undefined_length = False
    dataset.PhotometricInterpretation = photometric
    if values.shape[-1] == 3 and values.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.BitsStored, dataset.HighBit = layout.bits_stored, layout.bits_stored - 1
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _bits_beside(dataset: Dataset) -> bool:
    """Whether an overlay stands in the pixels' unused bits (PS3.5 8.1.2, retired)."""
    return any(tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102 and dataset[tag].value for tag in dataset.keys())


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
