"""A plain NIfTI file slice by slice: what is not asked for is not read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.nifti import NiftiHead, NiftiSource, read_head
from medvlp.io.sniff import open_regular

__all__ = ["NiftiFile", "plain_nifti"]

_PLAIN = (348, 540)  # a header begins with its own size


class NiftiFile:
    """A NIfTI file that is not packed, opened for each reading and closed again.

    Args:
        path: the file.
        head: its checked header.
    """

    def __init__(self, path: Path, head: NiftiHead) -> None:
        self.path = path
        self.head = head
        self.affine = head.affine
        self.meta = head.meta
        self.steps = head.steps
        self.warnings = head.notes

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y and x."""
        return self.head.shape[::-1]

    def read(self, index: Sequence[int]) -> np.ndarray:
        """Return slices across z, float32 ``(n, y, x)``, modality values.

        Raises:
            UnreadableImage: the file is gone, or was cut off.
        """
        rows, columns = self.shape[1:]
        size = rows * columns * self.head.dtype.itemsize
        out = np.empty((len(index), rows, columns), np.float32)
        with open_regular(self.path) as stream, refusing(self.path):
            for place, k in enumerate(index):
                stream.seek(self.head.offset + k * size)
                data = stream.read(size)
                if len(data) < size:
                    raise UnreadableImage("truncated", detail="it ends before its last voxel")
                out[place] = self.head.values(np.frombuffer(data, self.head.dtype).reshape(rows, columns))
        return out


def plain_nifti(path: str | os.PathLike[str]) -> NiftiFile | None:
    """Open a ``.nii`` file for reading its slices; None where it is packed, another format, or a folder.

    Raises:
        UnreadableImage: it is a plain NIfTI file and cannot be read rightly.

    Example:
        >>> import tempfile
        >>> import nibabel
        >>> path = Path(tempfile.mkdtemp(), "ct.nii")
        >>> nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4)).to_filename(path)
        >>> plain_nifti(path).read([1]).tolist()
        [[[1.0, 5.0], [3.0, 7.0]]]
    """
    if Path(path).is_dir():
        return None
    with open_regular(path) as stream, refusing(path):
        first = stream.read(4)
        if not {int.from_bytes(first, "little"), int.from_bytes(first, "big")} & set(_PLAIN):
            return None
        source = NiftiSource(stream)
        head = read_head(source)
        if head.offset + head.bytes > source.size:
            raise UnreadableImage(
                "truncated", detail=f"its header needs {head.offset + head.bytes} bytes, the file has {source.size}"
            )
        return NiftiFile(Path(path), head)
