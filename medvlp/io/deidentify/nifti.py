"""A NIfTI file whose header says nothing but geometry; its voxels are copied byte for byte."""

from __future__ import annotations

import gzip
import math
from contextlib import nullcontext
from pathlib import Path

from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.nifti import NiftiSource, open_header, voxel_offset
from medvlp.io.sniff import open_regular

#: Free text of NIfTI-1 and NIfTI-2; data_type, db_name, extents, session_error and regular are left from ANALYZE.
_TEXT = ("descrip", "aux_file", "intent_name", "data_type", "db_name", "unused_str")


def deidentify_nifti(path: Path, out: Path) -> tuple[str, ...]:
    """Copy a NIfTI file (.nii or .nii.gz) without free text, extensions and the gzip header's file name.

    The picture itself may show a face: nothing is done about that.

    Returns:
        the fields that were emptied, and "extensions" where there were any.

    Raises:
        UnreadableImage: it is damaged, or the header of a pair (.hdr and .img).
    """
    with open_regular(path) as stream, refusing(path):
        source = NiftiSource(stream)
        header = open_header(source)
        shape, size = header.get_data_shape(), header.get_data_dtype().itemsize
        source.free_voxels_of(size)
        if any(side < 1 for side in shape):
            raise UnreadableImage("bad_header", detail=f"its shape is {shape}")
        # Behind the header four bytes, of which the first tells whether extensions follow.
        between = source.exactly(voxel_offset(header) - len(header.binaryblock))
        emptied = [name for name in _TEXT if name in tuple(header) and bytes(header[name].tobytes()).strip(b"\0 ")]
        for name in emptied:
            header[name] = b""
        emptied += ["extensions"] if any(between[:1]) else []
        header["vox_offset"] = len(header.binaryblock) + 4
        with (
            open(out, "wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) if source.packed else nullcontext(file) as target,
        ):
            target.write(header.binaryblock + b"\0\0\0\0")
            for piece in source.pieces(math.prod(shape) * size):  # and nothing that may stand behind the voxels
                target.write(piece)
    return tuple(emptied)
