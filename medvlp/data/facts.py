"""What is known of one image file: its hashes, its size, a small picture of it, or why it cannot be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medvlp.data.contents import content_hash
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Image
from medvlp.io.read import read_image
from medvlp.io.resize import resize_pad
from medvlp.io.volume import Volume

THUMB_EDGE = 128
"""Longest side of a small picture in pixels."""
_NO_SERIES = ("no_series", "no_geometry", "not_a_volume")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one file; of a volume, height, width and picture are those of its middle axial slice.

    Attributes:
        sha256: of the file's bytes, in hex; of a folder, of its files' names and hashes; empty if it cannot be opened.
        height: rows of the picture as a display shows it.
        depth: slices of a volume, 1 for an image.
        kind: format and depth of the values: ``PNG L``, ``DICOM MONOCHROME1 12 bits``, ``NIfTI-1 int16``.
        pixels: SHA-256 of size and pixels at 8 bits, in hex: the same for the same picture in another container.
        reason: short code why the file cannot be read, empty where it can.
        hint: what is wrong and how to mend it, without the path.
        thumb_height: rows of the thumbnail; the longer side has `THUMB_EDGE` pixels.
        thumbnail: gray values row by row, one byte each, averaged (interpolated where the picture is smaller).
    """

    sha256: str
    height: int = 0
    width: int = 0
    depth: int = 0
    kind: str = ""
    pixels: str = ""
    reason: str = ""
    hint: str = ""
    thumb_height: int = 0
    thumb_width: int = 0
    thumbnail: bytes = b""

    @property
    def picture(self) -> np.ndarray:
        """The thumbnail as ``(thumb_height, thumb_width)`` uint8."""
        return np.frombuffer(self.thumbnail, np.uint8).reshape(self.thumb_height, self.thumb_width)


def read_facts(path: Path) -> ImageFacts:
    """Hash a file (or a folder of slices), read it, and make it small; what cannot be read says so.

    Args:
        path: image, volume, or folder that holds one volume.
    """
    sha = ""
    try:
        sha = _hash(path)
        content = _content(path)
        return _facts(sha, content)
    except UnreadableImage as error:
        return ImageFacts(sha, reason=error.reason, hint=f"{error.detail}; {error.hint}")
    except OSError as error:
        return ImageFacts(sha, reason="io_error", hint=f"{error.strerror}; check the disk or the network share")


def _hash(path: Path) -> str:
    """Hash what lies there; where nothing can be opened, reading says why."""
    try:
        return content_hash(path)
    except (UnreadableImage, PermissionError):
        return ""


def _content(path: Path) -> Image | Volume:
    from medvlp.io.volume_read import read_volume

    volume = partial(read_volume, on_gap="resample", on_tilt="shear")  # what it refuses is for the prefix to say
    if path.is_dir():
        return volume(path)
    try:
        image = read_image(path)
    except UnreadableImage as error:
        if error.reason not in ("volume", "several_images"):
            raise
        try:
            return volume(path)
        except UnreadableImage as other:  # several pictures that are no slices stay what they are
            raise (error if error.reason == "several_images" and other.reason in _NO_SERIES else other) from None
    if int(image.meta.get("NumberOfFrames", 1)) < 2:
        return image
    try:
        return volume(path)
    except UnreadableImage:
        return image  # frames without places: a film, whose first frame stands for it


def _facts(sha: str, content: Image | Volume) -> ImageFacts:
    from medvlp.io.middle_slice import usual_axial

    image = content if isinstance(content, Image) else usual_axial(content)
    gray = np.rint(np.clip(image.pixels, 0, 1) * 255).astype(np.uint8)
    small = resize_pad(image.pixels, THUMB_EDGE)
    fit = small.fit
    picture = small.pixels[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    digest = hashlib.sha256(f"{gray.shape}".encode())
    digest.update(gray.tobytes())
    return ImageFacts(
        sha256=sha,
        height=int(gray.shape[0]),
        width=int(gray.shape[1]),
        depth=1 if isinstance(content, Image) else int(content.shape[0]),
        kind=_kind(content),
        pixels=digest.hexdigest(),
        thumbnail=np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8).tobytes(),
        thumb_height=fit.height,
        thumb_width=fit.width,
    )


def _kind(content: Image | Volume) -> str:
    meta = content.meta
    if "Format" in meta:
        return f"{meta['Format']} {meta.get('Mode', meta.get('DataType', ''))}".strip()
    return f"DICOM {meta.get('PhotometricInterpretation', '')} {meta.get('BitsStored', '?')} bits"
