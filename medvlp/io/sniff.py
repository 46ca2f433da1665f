"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medvlp.io.errors import UnreadableImage
from medvlp.io.member import member_of, open_member

_HEAD = 4096
_KNOWN_OTHERS = {
    b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP or AVI", b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000", b"%PDF": "PDF", b"NRRD": "NRRD", b"\x89HDF": "HDF5", b"SIMPLE  =": "FITS",
    b"ObjectType": "MetaImage", b"8BPS": "Photoshop",
}  # fmt: skip
_ARCHIVES = {
    b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\xfd7zXZ": "xz", b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip
_POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex/")


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Open a regular file, or one in a tar shard (`medvlp.io.member`); what goes wrong is an ``UnreadableImage``.

    A pipe or device is refused before it is opened: opening a pipe would wait for ever.
    """
    try:
        stream = _opened(path)
    except UnreadableImage as error:
        raise error.at(path) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableImage("not_found", detail="there is no such file", path=path) from None
    except PermissionError:
        raise UnreadableImage("no_permission", detail="permission denied", path=path) from None
    except ValueError:
        raise UnreadableImage("not_found", detail="the path holds a NUL byte", path=repr(path)) from None
    except OSError as error:
        raise UnreadableImage("io_error", detail=error.strerror or "the system failed", path=path) from None
    with stream:
        yield stream


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # a member of a shard is below a file
        member = member_of(path)
        if member is None:
            raise
        return open_member(member)
    if stat.S_ISDIR(mode):
        raise UnreadableImage("directory", detail="it is a folder")
    if not stat.S_ISREG(mode):
        raise UnreadableImage("not_regular", detail="it is not a regular file")
    return open(path, "rb")


def sniff(stream: BinaryIO) -> str:
    """Return ``"dicom"``, ``"nifti"``, ``"png"``, ``"jpeg"`` or ``"tiff"``; leave the stream at its start."""
    head = stream.read(_HEAD)
    stream.seek(0)
    if not head:
        raise UnreadableImage("empty", detail="it has 0 bytes")
    if head[128:132] == b"DICM":  # before all others: the preamble may hold a TIFF header on purpose
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "tiff"
    if head.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            # No further than a NIfTI-1 header: the checksum of a tiny file is the reader's to judge.
            if _is_nifti(zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 348)):
                return "nifti"
        raise UnreadableImage("archive", detail="it is gzip data that holds no NIfTI volume")
    if _is_nifti(head):
        return "nifti"
    if _is_bare_dicom(head):
        return "dicom"
    raise _refusal(head)


def _refusal(head: bytes) -> UnreadableImage:
    for magic, name in _ARCHIVES.items():
        if head.startswith(magic):
            return UnreadableImage("archive", detail=f"it is a {name} archive")
    if head[257:262] == b"ustar":
        return UnreadableImage("archive", detail="it is a tar archive")
    if any(mark in head[:300] for mark in _POINTERS):
        return UnreadableImage("pointer", detail="it is a pointer to content that was not fetched")
    for magic, name in _KNOWN_OTHERS.items():
        if head.startswith(magic):
            return UnreadableImage("unsupported_format", detail=f"it is a {name} file")
    if not any(head):
        return UnreadableImage("corrupt", detail="its first bytes are all zero")
    what = "text" if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head) else "data of an unknown kind"
    return UnreadableImage("not_an_image", detail=f"it is {what}")


def _is_nifti(head: bytes) -> bool:
    """NIfTI-1 and -2 in either byte order, single file or header of a pair."""
    for order in "<>":
        size = struct.unpack(order + "i", head[:4])[0] if len(head) >= 4 else 0
        if (size == 348 and head[344:347] in (b"n+1", b"ni1")) or (size == 540 and head[4:7] in (b"n+2", b"ni2")):
            return True
    return False


def _is_bare_dicom(head: bytes) -> bool:
    """Whether bytes without preamble start like a data set: a low tag of group 2 or 8 with a plausible length or VR."""
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(order + "HH", head[:4])
        if group not in (0x0002, 0x0008) or element > 0x2000:
            continue
        if head[4:6] in (b"UL", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO", b"OB", b"PN", b"ST", b"SQ", b"DT"):
            return True
        if order == "<" and struct.unpack("<I", head[4:8])[0] <= 256:
            return True
    return False
