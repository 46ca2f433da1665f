"""Whatever the file: read rightly, or UnreadableImage with a precise reason; nothing else, and no patient data."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from medvlp.core.errors import UserError
from medvlp.io import UnreadableImage, inspect, read_image, read_volume
from medvlp.io.errors import REASONS
from tests.io.mutants import mutant


def reason(path, read=read_image):
    with pytest.raises(UnreadableImage) as refusal:
        read(path)
    return refusal.value.reason


@pytest.mark.parametrize("read", [read_image, read_volume])
def test_paths_that_are_no_files(tmp_path, read):
    assert reason(tmp_path / "absent.dcm", read) == "not_found"
    assert reason(tmp_path / "a\0b", read) == "not_found"
    assert reason(tmp_path, read) == ("directory" if read is read_image else "no_series")
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe", read) == "not_regular"


CONTENT = {
    "empty": b"",
    "not_an_image": b"FINDINGS: the lungs are clear.\n",
    "corrupt": b"\0" * 5000,
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "archive": gzip.compress(b"not a volume"),
    "unsupported_format": b"GIF89a" + b"\0" * 100,
}


@pytest.mark.parametrize("expected", CONTENT)
@pytest.mark.parametrize("read", [read_image, read_volume])
def test_content_that_is_no_image(tmp_path, expected, read):
    path = tmp_path / "image.dcm"
    path.write_bytes(CONTENT[expected])
    assert reason(path, read) == expected


def test_archives_of_something_else(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with zipfile.ZipFile(tmp_path / "a.dcm", "w") as archive:
        archive.write(tmp_path / "a.txt", "a.txt")
    with tarfile.open(tmp_path / "b.dcm", "w") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    assert reason(tmp_path / "a.dcm") == "not_an_image"
    assert reason(tmp_path / "b.dcm") == "not_an_image"


def test_random_bytes_are_not_an_image(tmp_path):
    path = tmp_path / "noise.dcm"
    path.write_bytes(random.Random(1).randbytes(5000))
    assert reason(path) == "not_an_image"


def test_suffix_does_not_matter(tmp_path):
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "picture.dcm", format="PNG")
    assert read_image(tmp_path / "picture.dcm").meta["Format"] == "PNG"


def test_message_is_one_sentence_with_what_where_why_and_how(tmp_path):
    (tmp_path / "a.dcm").touch()
    with pytest.raises(UnreadableImage) as refusal:
        read_image(tmp_path / "a.dcm")
    error = refusal.value
    assert str(error) == f"{tmp_path / 'a.dcm'} cannot be read (empty): it has 0 bytes; copy or export the file again."
    assert (error.path, error.hint, error.exit_code) == (str(tmp_path / "a.dcm"), REASONS["empty"], 2)


def test_refusal_crosses_process_borders():
    error = UnreadableImage("truncated", detail="it ends", hint="copy it", path="a.dcm")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason, again.path, again.hint) == (str(error), "truncated", "a.dcm", "copy it")


def test_unknown_preset_and_colour_are_user_errors(tmp_path):
    with pytest.raises(UserError, match=r"no preprocessing preset 'dicom_voi': did you mean 'dicom_voi_v1'\?"):
        read_image(tmp_path / "a.dcm", preset="dicom_voi")
    with pytest.raises(UserError, match="choose 'gray' or 'rgb'"):
        read_image(tmp_path / "a.dcm", color="bgr")


def test_inspect_of_an_unreadable_file(tmp_path):
    (tmp_path / "a.dcm").touch()
    found = inspect(tmp_path / "a.dcm")
    assert found == {
        "path": str(tmp_path / "a.dcm"),
        "unreadable": "empty",
        "hint": "it has 0 bytes; copy or export the file again",
    }


# --- patients --------------------------------------------------------------------------------------------------------

PHI = "Zyxwvut"
IDENTIFYING = {
    0x00080020: ("DA", "19470311"), 0x00080050: ("SH", PHI), 0x00080080: ("LO", PHI), 0x00081030: ("LO", PHI),
    0x00100010: ("PN", f"{PHI}^Anna"), 0x00100020: ("LO", PHI), 0x00100030: ("DA", "19470311"), 0x00104000: ("LT", PHI),
    0x00181030: ("LO", PHI), 0x00204000: ("LT", PHI), 0x00321060: ("LO", PHI),
}  # fmt: skip


def test_nothing_of_the_patient_is_in_what_reading_returns(dicom):
    found = repr(inspect(dicom(np.arange(4, dtype=np.uint8).reshape(2, 2), IDENTIFYING)))
    assert PHI not in found
    assert "19470311" not in found
    assert "'kind': 'image'" in found


def test_names_in_tags_of_the_allow_list_do_not_pass(dicom):
    # A coded tag that holds a name: VR CS and maker's names have no caret.
    path = dicom(np.zeros((2, 2), np.uint8), {0x00185101: ("CS", f"{PHI}^ANNA"), 0x00080070: ("LO", f"{PHI}^ANNA")})
    assert PHI not in repr(inspect(path))


def test_refusals_do_not_quote_identifiers(dicom, capsys):
    tags = {**IDENTIFYING, 0x00280010: ("LO", PHI), 0x00280011: ("LO", PHI)}
    with pytest.raises(UnreadableImage) as refusal:
        read_image(dicom(np.zeros((2, 2), np.uint8), tags))
    assert PHI not in str(refusal.value)
    captured = capsys.readouterr()
    assert PHI not in captured.out + captured.err


# --- mutants ---------------------------------------------------------------------------------------------------------

SEEDS = [
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG-lossy.dcm",
    "image_dfl.dcm", "MR_small_bigendian.dcm", "SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "no_meta.dcm", "liver_1frame.dcm", "SC_rgb_rle_2frame.dcm",
]  # fmt: skip


def outcome(read, path):
    try:
        return read(path)
    except UnreadableImage as error:
        return error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*SEEDS, "png16", "jpeg", "tiff", "nifti.gz"])
def test_mutants_are_read_in_range_or_refused(tmp_path, name):
    read = read_image
    if name.endswith(".dcm"):
        with open(get_testdata_file(name, download=False), "rb") as stream:
            data = stream.read()
    elif name == "nifti.gz":
        import nibabel

        nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)).to_filename(
            tmp_path / "a.nii.gz"
        )
        data, read = (tmp_path / "a.nii.gz").read_bytes(), read_volume
    else:
        dtype = np.uint16 if name == "png16" else np.uint8
        picture = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32)).astype(dtype))
        picture.save(tmp_path / "seed", format=name.removesuffix("16").upper())
        data = (tmp_path / "seed").read_bytes()
    chance = random.Random(name)
    path = tmp_path / "mutant"
    for _ in range(40):
        path.write_bytes(mutant(data, chance))
        result = outcome(read, path)
        if isinstance(result, UnreadableImage):
            assert result.reason in REASONS
            assert result.path == str(path)
        elif read is read_image:
            assert result.pixels.dtype == np.float32
            assert np.isfinite(result.pixels).all()
            assert 0 <= result.pixels.min() <= result.pixels.max() <= 1
