"""A NIfTI file whose header says nothing but geometry; its voxels are copied byte for byte."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib

from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.nifti import voxel_offset
from medvlp.io.sniff import open_regular

#: Free text of NIfTI-1 and NIfTI-2; data_type, db_name, extents, session_error and regular are left from ANALYZE.
_TEXT = ("descrip", "aux_file", "intent_name", "data_type", "db_name")


def deidentify_nifti(path: Path, out: Path) -> tuple[str, ...]:
    """Copy a NIfTI file (.nii or .nii.gz) without free text, extensions and the gzip header's file name.

    The picture itself may show a face: nothing is done about that.

    Returns:
        the fields that were emptied, and "extensions" where there were any.

    Raises:
        UnreadableImage: it is damaged, or the header of a pair (.hdr and .img).
    """
    with open_regular(path) as stream, refusing(path):
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        source = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if packed else stream
        head = source.read(4)
        source.seek(0)
        is_second = 540 in (int.from_bytes(head, order) for order in ("little", "big"))
        kind = nib.Nifti2Header if is_second else nib.Nifti1Header
        header = kind.from_fileobj(source, check=False)
        if bytes(header["magic"].tobytes())[:2] == b"ni":
            raise UnreadableImage("unsupported_format", detail="it is the header of a pair of files")
        start = voxel_offset(header)
        emptied = [name for name in _TEXT if name in tuple(header) and bytes(header[name].tobytes()).strip(b"\0 ")]
        for name in emptied:
            header[name] = b""
        emptied += ["extensions"] if len(header.extensions) else []
        header.extensions.clear()
        header["vox_offset"] = len(header.binaryblock) + 4
        source.seek(start)
        with open(out, "wb") as file:
            target = cast(BinaryIO, gzip.GzipFile("", "wb", 6, file, mtime=0)) if packed else file
            target.write(header.binaryblock + b"\0\0\0\0")
            _copy(source, target, math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize)
            if packed:
                target.close()
    return tuple(emptied)


def _copy(source: BinaryIO, target: BinaryIO, count: int) -> None:
    """Copy the voxels and nothing that may stand behind them."""
    while count:
        data = source.read(min(count, 1 << 20))
        if not data:
            raise UnreadableImage("truncated", detail=f"it lacks {count} bytes of its voxels")
        target.write(data)
        count -= len(data)
