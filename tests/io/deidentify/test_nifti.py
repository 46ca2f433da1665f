"""Headers of NIfTI files say nothing but geometry; voxels and affine are the same."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvlp.io import UnreadableImage
from medvlp.io.deidentify.nifti import deidentify_nifti

WORD = b"ZQNAME"


def planted(path: Path, kind: type, *, big: bool = False) -> Path:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = kind(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    if big:
        image = kind(voxels, image.affine, header=image.header.as_byteswapped(">"))
    header = image.header
    own = ("db_name", "data_type") if kind is nib.Nifti1Image else ("unused_str",)
    for field in ("descrip", "aux_file", "intent_name", *own):
        header[field] = WORD
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"ZQNAME in an extension"))
    image.to_filename(path)
    return path


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_words_are_gone_and_voxels_and_place_stay(tmp_path: Path, kind: type, suffix: str, big: bool) -> None:
    path, out = planted(tmp_path / f"ZQNAME{suffix}", kind, big=big), tmp_path / f"out{suffix}"
    done = deidentify_nifti(path, out)
    data = out.read_bytes()
    plain = gzip.decompress(data) if suffix == ".nii.gz" else data
    assert WORD not in data + plain
    before, after = nib.load(path), nib.load(out)
    assert np.array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
    assert np.array_equal(before.affine, after.affine)
    assert {"descrip", "aux_file", "intent_name", "extensions"} <= set(done)


def test_bytes_behind_the_voxels_stay_behind_and_missing_ones_are_told(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.nii", nib.Nifti1Image)
    whole = path.read_bytes()
    path.write_bytes(whole + WORD)
    deidentify_nifti(path, tmp_path / "out.nii")
    assert WORD not in (tmp_path / "out.nii").read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(UnreadableImage, match=rf"needs {len(whole)} bytes, the file has {len(whole) - 10};"):
        deidentify_nifti(path, tmp_path / "out.nii")


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_that_begin_within_the_header_are_refused(tmp_path: Path, offset: float, packed: bool) -> None:
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4))
    image.header["descrip"] = WORD
    data = bytearray(image.to_bytes())
    data[108:112] = struct.pack("<f", offset)  # vox_offset
    path, out = tmp_path / "a", tmp_path / "out"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(UnreadableImage, match=f"vox_offset is {offset:g}") as told:
        deidentify_nifti(path, out)
    assert told.value.reason == "bad_header"
    assert not out.exists()


@pytest.mark.parametrize(
    ("dim", "reason"), [((3, 650, 650, 650), "too_large"), ((3, 8, -8, 8), "bad_header"), ((3, 8, 0, 8), "bad_header")]
)
def test_voxels_that_a_small_gzip_file_cannot_hold_are_refused(
    tmp_path: Path, dim: tuple[int, ...], reason: str
) -> None:
    data = bytearray(nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_bytes() + bytes(1 << 20))
    data[40:48] = struct.pack("<4h", *dim)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data))
    with pytest.raises(UnreadableImage) as refusal:
        deidentify_nifti(tmp_path / "a.nii.gz", tmp_path / "out.nii.gz")
    assert refusal.value.reason == reason


def test_a_pair_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    pair = nib.Nifti1Pair(np.zeros((2, 2, 2), np.int16), np.eye(4))
    pair.to_filename(tmp_path / "a.hdr")
    with pytest.raises(UnreadableImage, match=r"the header of a \.hdr/\.img pair"):
        deidentify_nifti(tmp_path / "a.hdr", tmp_path / "out.nii")
    path = planted(tmp_path / "b.nii.gz", nib.Nifti1Image)
    (tmp_path / "cut.nii.gz").write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableImage):
        deidentify_nifti(tmp_path / "cut.nii.gz", tmp_path / "out.nii.gz")
