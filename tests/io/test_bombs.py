"""Small files that claim to be huge are refused by their headers, before memory is taken for them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap
import zlib

import imagecodecs
import jpeg_ls
import nibabel
import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image as Pillow

from medvlp.io import read_image

DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_LS, J2K = (f"1.2.840.10008.1.2.4.{n}" for n in ("50", "80", "90"))
TINY = np.arange(4096).astype(np.uint8).reshape(64, 64)
GIGABYTE = 1 << 30


def deflated(head, block, times):
    """Deflate `head`, then `block` many times: full flushes make its code independent of what came before."""
    squeezer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = squeezer.compress(head) + squeezer.flush(zlib.Z_FULL_FLUSH)
    piece = squeezer.compress(block) + squeezer.flush(zlib.Z_FULL_FLUSH)
    again = squeezer.compress(block) + squeezer.flush(zlib.Z_FULL_FLUSH)
    assert piece == again
    return start + piece * times + squeezer.flush(zlib.Z_FINISH)


def head_of(path):
    """The bytes of a DICOM file up to its data set: preamble, mark and group 0002."""
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[140:144])
    return data[: 144 + length]


def j2k_of(rows, columns):
    """A stream of 64 x 64 pixels whose SIZ (ISO/IEC 15444-1 A.5.1) claims one tile of another size."""
    stream = bytearray(bytes(encode_array(TINY, use_mct=False)))
    stream[8:16] = stream[24:32] = struct.pack(">II", columns, rows)
    return bytes(stream)


def resized(stream, marker, rows, columns):
    """Change the size in a JPEG family frame header (ITU-T T.81 B.2.2)."""
    at = stream.index(marker) + 5
    return stream[:at] + struct.pack(">HH", rows, columns) + stream[at + 4 :]


def png_of(tmp_path, name, rows, columns, *, bits=8, colour=0):
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return tmp_path / name


def tiff_of(tmp_path, name, rows, columns, *, following=0):
    """One directory (TIFF 6.0 section 2) of 8-bit gray in one strip of four bytes."""
    fields = {256: columns, 257: rows, 258: 8, 259: 1, 262: 1, 273: 8, 278: rows, 279: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    data = struct.pack("<2sHI", b"II", 42, 12) + b"abcd" + struct.pack("<H", len(fields)) + entries
    (tmp_path / name).write_bytes(data + struct.pack("<I", following))
    return tmp_path / name


def nifti_of(tmp_path, name, shape, *, packed=0):
    """A header that claims `shape` of int16; with `packed` megabytes of zeros behind it, in gzip."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_data_dtype(np.int16)
    header["dim"][: len(shape) + 1] = [len(shape), *shape]
    header["vox_offset"], header["sform_code"], header["magic"] = 352, 1, b"n+1"
    data = header.binaryblock + b"\0" * 4
    if packed:
        data = b"\x1f\x8b\x08" + b"\0" * 7 + deflated(data, b"\0" * (1 << 20), packed) + b"\0" * 8  # RFC 1952
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.fixture
def bombs(tmp_path, dicom):
    """What it is -> its file and the reason for which it must be refused."""
    small = {"rows": 64, "columns": 64, "bits": 8}
    large = {"rows": 9000, "columns": 9000, "bits": 8}
    base = dicom(TINY)
    head = head_of(dicom(TINY, syntax=DEFLATED))
    elements = base.read_bytes()[len(head_of(base)) :]
    pixels = elements.index(b"\xe0\x7f\x10\x00")
    four_gigabytes = elements[:pixels] + b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<I", 0xFFFFFFFE)
    private = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + i % 0xE000, b"LO", 0) for i in range(1 << 16))

    def written(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    jpeg, ls = imagecodecs.jpeg8_encode(TINY), bytes(jpeg_ls.encode_array(TINY))
    return {
        "4 GB deflated": (written("d", head + deflated(four_gigabytes, b"\0" * (1 << 20), 4096)), "too_large"),
        "elements deflated": (written("e", head + deflated(elements[:10], private, 100)), "too_large"),
        "J2K of 60000 x 60000": (dicom(b"", **small, syntax=J2K, compressed=[j2k_of(60000, 60000)]), "length_mismatch"),
        "and its tags too": (
            dicom(b"", rows=60000, columns=60000, bits=8, syntax=J2K, compressed=[j2k_of(60000, 60000)]),
            "too_large",
        ),
        "J2K of 9000 x 9000": (dicom(b"", **large, syntax=J2K, compressed=[j2k_of(9000, 9000)]), "too_large"),
        "JPEG of 65535 rows": (
            dicom(b"", **small, syntax=JPEG, compressed=[resized(jpeg, b"\xff\xc0", 65535, 64)]),
            "length_mismatch",
        ),
        "JPEG of 9000 x 9000": (
            dicom(b"", **large, syntax=JPEG, compressed=[resized(jpeg, b"\xff\xc0", 9000, 9000)]),
            "too_large",
        ),
        "JPEG-LS of 9000 x 9000": (
            dicom(b"", **large, syntax=JPEG_LS, compressed=[resized(ls, b"\xff\xf7", 9000, 9000)]),
            "too_large",
        ),
        "RLE with lying rows": (
            dicom(b"", **large, syntax=RLE, compressed=[struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 9]),
            "truncated",
        ),
        "RLE with lying segments": (
            dicom(b"", **small, syntax=RLE, compressed=[struct.pack("<16I", 2**31, *[64] * 15) + b"\x81\0"]),
            "corrupt",
        ),
        "frames": (dicom(b"\0" * 8, rows=2, columns=2, bits=16, frames=2**31 - 1), "truncated"),
        "PNG of 169 megapixels": (png_of(tmp_path, "p", 13000, 13000), "too_large"),
        "PNG of 80 megapixels of 64 bits": (png_of(tmp_path, "q", 8000, 10000, bits=16, colour=6), "too_large"),
        "PNG of 2^31": (png_of(tmp_path, "s", 2**31 - 1, 2**31 - 1), "too_large"),
        "TIFF of 60000 x 60000": (tiff_of(tmp_path, "t", 60000, 60000), "too_large"),
        "TIFF without its pixels": (tiff_of(tmp_path, "v", 9000, 9000), "truncated"),
        "TIFF pages in a circle": (tiff_of(tmp_path, "w", 8, 8, following=12), "corrupt"),
        "JPEG picture": (written("j", resized(jpeg, b"\xff\xc0", 65000, 65000)), "too_large"),
        "NIfTI of 27 TB": (nifti_of(tmp_path, "n", (30000, 30000, 15000)), "too_large"),
        "NIfTI of 2 GB without voxels": (nifti_of(tmp_path, "m", (1000, 1000, 1000)), "truncated"),
        "NIfTI of 540 MB in gzip": (nifti_of(tmp_path, "o.gz", (650, 650, 650), packed=524), "too_large"),
        "NIfTI with data behind it": (nifti_of(tmp_path, "r.gz", (8, 8, 8), packed=524), "too_large"),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_bombs_are_refused_within_a_gigabyte_of_reader_and_helper(bombs):
    text = r"""
        import json, os, re, resource, sys
        from medvlp.io import UnreadableImage, read_image, read_volume
        found = {}
        for what, path in json.loads(sys.argv[1]).items():
            try:
                (read_volume if "NIfTI" in what else read_image)(path)
            except UnreadableImage as error:
                found[what] = error.reason
        helpers = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        peaks = [re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{pid}/status").read()) for pid in ("self", *helpers)]
        ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of which no peak can be read any more
        print(json.dumps([found, 1024 * sum(int(peak[1]) for peak in peaks), len(helpers), ended]))
    """
    paths = json.dumps({what: str(path) for what, (path, _) in bombs.items()})
    said = subprocess.run([sys.executable, "-c", textwrap.dedent(text), paths], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    found, used, helpers, ended = json.loads(said.stdout)
    assert (helpers, ended) == (1, 0)
    assert found == {what: reason for what, (_, reason) in bombs.items()}
    assert used < GIGABYTE


def test_large_empty_picture_of_a_good_encoder_is_no_bomb(dicom):
    empty = np.zeros((2000, 2000), np.uint8)
    path = dicom(b"", rows=2000, columns=2000, bits=8, syntax=J2K, compressed=[bytes(encode_array(empty))])
    assert path.stat().st_size < 4000
    assert not read_image(path).pixels.any()
    Pillow.fromarray(empty).save(path, format="PNG")
    assert read_image(path).shape == (2000, 2000)
