"""NIfTI-1 and NIfTI-2 volumes: nibabel reads the header, sizes are proved before voxels are read.

Reading rules where files differ: slope 0 means unscaled (NIfTI-1 standard), a slope or intercept that is not finite is
refused; the sform counts before the qform; a singular form is passed over; a volume with neither form keeps its voxel
sizes only, with a warning.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from isal import isal_zlib

from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.sniff import open_regular
from medvlp.io.volume import NO_PLACE, Volume, prove_size

_MAX_GZIP_RATIO = 200  # beyond what is free; many organs reach 100, a mask of one 500, deflate's own limit is 1032
_FREE_VOXELS = 256 << 20  # a mask of 1024 slices of 512 x 512 may be empty, whatever its type: many are float64
_CHUNK = 1 << 16  # what follows a gzip member is copied, for each member: less than this of it
_UNITS_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_EXACT_IN_FLOAT32 = 1 << 24
_PLAIN = (348, 540)  # a header begins with its own size


class NiftiSource:
    """Bytes of a plain or gzip file, in order, with a cap on how far a small file may swell."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.packed = stream.read(2) == b"\x1f\x8b"
        self.size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        self._inflater = isal_zlib.decompressobj(31)  # gzip with its trailer checked
        self._given = 0
        self._most = max(_FREE_VOXELS, _MAX_GZIP_RATIO * self.size)

    def free_voxels_of(self, size: int) -> None:
        """Let voxels of so many bytes unpack up to 1024 slices of 512 x 512, however well they were packed."""
        self._most = max(self._most, _FREE_VOXELS * size)

    def exactly(self, count: int) -> bytearray:
        """Return the next ``count`` bytes, or refuse the file as truncated."""
        data = bytearray()
        for piece in self.pieces(count):
            data += piece
        return data

    def pieces(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes piece by piece, or refuse the file as truncated."""
        self._given += count
        if self.packed and self._given > self._most:
            raise UnreadableImage("too_large", detail=f"{self.size} bytes claim to hold more than {self._most}")
        if not self.packed and self._given > self.size:
            detail = f"its header needs {self._given} bytes, the file has {self.size}"
            raise UnreadableImage("truncated", detail=detail)
        while count:
            piece = self._part(count) if self.packed else self._stream.read(min(count, _CHUNK))
            if not piece:
                raise UnreadableImage("truncated", detail="it ends before its last voxel")
            yield piece
            count -= len(piece)

    def finish(self) -> None:
        """Check the gzip trailers (length and CRC), which damage in the middle does not survive."""
        while self.packed and (part := self._part(_CHUNK)):
            self._given += len(part)
            if self._given > self._most:
                raise UnreadableImage("too_large", detail="its gzip data does not end")

    def _part(self, most: int) -> bytes:
        """Return up to ``most`` inflated bytes, none only at the end of the last gzip member (RFC 1952, 2.2)."""
        while True:
            if self._inflater.eof:
                rest = self._inflater.unused_data
                rest = rest if len(rest) > 1 else rest + self._stream.read(_CHUNK)
                if not rest.startswith(b"\x1f\x8b"):  # nothing, or padding behind the last member
                    return b""
                self._inflater = isal_zlib.decompressobj(31)
                packed = rest
            else:
                packed = self._inflater.unconsumed_tail or self._stream.read(_CHUNK)
            if not packed:
                raise UnreadableImage("truncated", detail="its gzip data is cut off")
            try:
                part = self._inflater.decompress(packed, most)
            except isal_zlib.error:  # pyrefly: ignore[not-a-type]
                raise UnreadableImage("corrupt", detail="its gzip data or its checksum is damaged") from None
            if part:
                return part


@dataclass(frozen=True, eq=False)
class NiftiHead:
    """What the header of a NIfTI file says, checked.

    `shape` is along x, y and z; the voxels, of `dtype`, begin at byte `offset`, to which the source was read;
    value = slope * stored value + inter; `steps` and `notes` tell how the place was found.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: Affine
    meta: dict[str, str | int | float]
    steps: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Return modality values, float32, of stored ones."""
        if self.slope == 1 and self.inter == 0:
            return stored.astype(np.float32)
        return (stored.astype(np.float64) * self.slope + self.inter).astype(np.float32)


def read_nifti(stream: BinaryIO) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file, at its start, as modality values with their place in the patient."""
    source = NiftiSource(stream)
    head = read_head(source)
    data = source.exactly(head.bytes)
    source.finish()
    # File order is x fastest: as C order that is (z, y, x) without moving a byte.
    values = np.frombuffer(data, head.dtype).reshape(head.shape[::-1])
    result = np.empty(values.shape, np.float32)
    for stored, shown in zip(values, result, strict=True):  # slice by slice: the work takes the memory of one
        shown[...] = head.values(stored)
    notes = list(head.notes)
    if head.dtype.kind in "iu" and head.dtype.itemsize > 3:
        largest = max(-int(values.min()), int(values.max()))
        if largest > _EXACT_IN_FLOAT32:
            notes.append(f"whole numbers beyond {_EXACT_IN_FLOAT32} were rounded to float32")
    if head.dtype.kind == "f" and not np.isfinite(result).all():
        notes.append(f"voxels that are not finite, kept as they are: {int((~np.isfinite(result)).sum())}")
    return Volume(voxels=result, affine=head.affine, meta=head.meta, steps=head.steps, warnings=tuple(notes))


def voxel_offset(header: nib.Nifti1Header) -> int:
    """Return where the voxels begin, in bytes; `UnreadableImage` where that is within the header, or far behind it."""
    offset = float(header["vox_offset"])
    if not len(header.binaryblock) <= offset <= 1 << 24:
        raise UnreadableImage("bad_header", detail=f"vox_offset is {offset:g}")
    return int(offset)


def open_header(source: NiftiSource) -> nib.Nifti1Header:
    """Read the header of a file, not of a pair; the source then stands behind it."""
    first = source.exactly(4)
    two = 540 in (int.from_bytes(first, "little"), int.from_bytes(first, "big"))
    kind = nib.Nifti2Header if two else nib.Nifti1Header
    header = kind(bytes(first + source.exactly(536 if two else 344)), check=False)
    if bytes(header["magic"].tobytes()[:2]) == b"ni":
        hint = "convert the pair to one .nii file"
        raise UnreadableImage("unsupported_format", detail="it is the header of a .hdr/.img pair", hint=hint)
    return header


def read_head(source: NiftiSource) -> NiftiHead:
    """Read and check a header; the source then stands at the first voxel."""
    header = open_header(source)
    notes: list[str] = []
    steps: list[str] = []
    shape = _shape(header, steps)
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        raise UnreadableImage("bad_header", detail=f"datatype is {header['datatype']}, which is none") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        detail = f"its voxels are {'colours' if dtype.names else dtype}, not single numbers of up to 64 bits"
        hint = "save its values as single numbers, such as int16 or float32"
        raise UnreadableImage("unsupported_format", detail=detail, hint=hint)
    prove_size(*shape[::-1])
    source.free_voxels_of(dtype.itemsize)
    offset = voxel_offset(header)
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    slope, inter = (slope, inter) if slope else (1.0, 0.0)
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise UnreadableImage("bad_rescale", detail=f"scl_slope is {slope:g}, scl_inter is {inter:g}")
    affine = Affine(_affine(header, shape, notes, steps))
    source.exactly(offset - len(header.binaryblock))
    steps.append(f"values: {dtype.name} * {slope:g} + {inter:g}")
    form = "NIfTI-2" if isinstance(header, nib.Nifti2Header) else "NIfTI-1"
    meta: dict[str, str | int | float] = {"Format": form, "DataType": dtype.name, "AxisCodes": affine.codes}
    return NiftiHead(shape, dtype, offset, slope, inter, affine, meta, tuple(steps), tuple(notes))


def _shape(header: nib.Nifti1Header, steps: list[str]) -> tuple[int, int, int]:
    dim = [int(size) for size in header["dim"]]
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : dim[0] + 1]):
        raise UnreadableImage("bad_header", detail=f"dim is {dim[: max(1, min(dim[0], 7)) + 1]}")
    sizes = dim[1 : dim[0] + 1]
    words = " x ".join(map(str, sizes))
    if any(size > 1 for size in sizes[3:]):
        raise UnreadableImage("several_volumes", detail=f"it has {words} voxels: more than three dimensions")
    if len(sizes) > 3:
        steps.append(f"dimensions of size 1 dropped from {words}")
    x, y, z = (*sizes[:3], 1, 1)[:3]
    return x, y, z


def _affine(header: nib.Nifti1Header, shape: tuple[int, int, int], notes: list[str], steps: list[str]) -> np.ndarray:
    """Choose sform, else qform, else voxel sizes; in millimetres, RAS."""
    scale = _UNITS_TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    if scale != 1:
        steps.append(f"spatial units converted to mm, times {scale:g}")
    forms: dict[str, np.ndarray] = {}
    for name, read in (("sform", header.get_sform), ("qform", header.get_qform)):
        if int(header[f"{name}_code"]) <= 0:
            continue
        if name == "qform":  # nifti1.h, method 2: of qfac the sign counts, 0 is taken for 1
            header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
            length = math.hypot(*(float(header[f"quatern_{part}"]) for part in "bcd"))
            for part in "bcd" if 1 < length < math.inf else "":  # nifti1_io.c: rounded half turns are made unit length
                header[f"quatern_{part}"] /= length
        try:
            form = np.asarray(read(), np.float64) * [[scale], [scale], [scale], [1.0]]
        except Exception:
            form = np.full((4, 4), np.nan)
        if np.isfinite(form).all() and abs(np.linalg.det(form[:3, :3])) > 1e-12:
            forms[name] = form
        else:
            notes.append(f"the {name} is singular or not finite and was passed over")
    if len(forms) == 2:
        corners = np.array([(x, y, z, 1) for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])], float)
        apart = float(np.abs((forms["sform"] - forms["qform"]) @ corners.T).max())
        if apart > 1e-3:
            notes.append(f"sform and qform differ by up to {apart:.3g} mm: the sform was used")
    for name, affine in forms.items():
        steps.append(f"place: {name}")
        return affine
    sizes = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise UnreadableImage("bad_affine", detail="it has no sform, no qform and no voxel sizes")
    notes.append(
        "it has neither sform nor qform: voxel sizes only, orientation and origin are unknown (RAS from 0 assumed)"
    )
    steps.append(NO_PLACE)
    return np.diag([*(sizes * scale), 1.0])


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
        """Return slices across z, float32 ``(n, y, x)``, modality values."""
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
        if not {int.from_bytes(first, "little"), int.from_bytes(first, "big")}.intersection(_PLAIN):
            return None
        source = NiftiSource(stream)
        head = read_head(source)
        if head.offset + head.bytes > source.size:
            raise UnreadableImage(
                "truncated", detail=f"its header needs {head.offset + head.bytes} bytes, the file has {source.size}"
            )
        return NiftiFile(Path(path), head)
