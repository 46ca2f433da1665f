"""On every test file of pydicom and pydicom-data, what is shown is what the standard says of pydicom's parse."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom.data.data_manager import external_data_sources

from medvlp.io import UnreadableImage, read_image
from tests.io.referee import opinion_of
from tests.io.verdict import verdict

#: Files with pixels that are not simply equal: refused for a reason, or of no opinion, since pydicom needs a decoder
#: that is not installed (JPEG Lossless, 12-bit JPEG).
OUTCOMES = {
    "JPEG-LL.dcm": "no opinion: RuntimeError",
    "JPEG-lossy.dcm": "no opinion: RuntimeError",
    "JPEG2000-embedded-sequence-delimiter.dcm": "corrupt",
    "JPGExtended.dcm": "no opinion: RuntimeError",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "no opinion: RuntimeError",
    "MR_truncated.dcm": "truncated",
    "SC_rgb_jpeg_gdcm.dcm": "no opinion: RuntimeError",
    "badVR.dcm": "bad_header",
    "bad_sequence.dcm": "no opinion: RuntimeError",
    "eCT_Supplemental.dcm": "unsupported_format",
    "meta_missing_tsyntax.dcm": "bad_header",
    "nested_priv_SQ.dcm": "bad_header",
    "rtplan_truncated.dcm": "truncated",
}


def outcome(path: Path) -> str:
    try:
        image = read_image(path)
    except UnreadableImage as error:
        return error.reason
    return verdict(path.read_bytes(), image.pixels, image.warnings)


def dicom_files() -> list[Path]:
    folders = {Path(source.data_path) for source in external_data_sources().values() if hasattr(source, "data_path")}
    if not folders:
        pytest.skip("the package pydicom-data is not installed")
    folders.add(Path(pydicom.data.__file__).parent / "test_files")
    return sorted(path for folder in folders for path in folder.rglob("*.dcm"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_file_with_pixels_is_equal_or_listed_with_its_outcome():
    found = {path.name: outcome(path) for path in dicom_files()}
    # Reports, plans and directories, and no_meta.dcm, which begins with a byte too much.
    shown = {name: what for name, what in found.items() if what not in ("no_pixels", "not_an_image")}
    counts = Counter(shown.values())
    assert {name: what for name, what in shown.items() if what != "equal"} == OUTCOMES
    assert counts["equal"] >= 118


@pytest.mark.filterwarnings("ignore")
def test_the_referee_sees_what_the_standard_says(dicom):
    # Stored 1 to 5 of 12 bits above rubbish, -1000 + 2 x, window 11/-994 LINEAR, MONOCHROME1, 5 is padding.
    stored = np.array([[1, 2, 3, 4, 5]], np.uint16)
    tags = {
        0x00280004: ("CS", "MONOCHROME1"), 0x00280101: ("US", 12), 0x00280102: ("US", 11), 0x00280120: ("US", 5),
        0x00281050: ("DS", -994), 0x00281051: ("DS", 11), 0x00281052: ("DS", -1000), 0x00281053: ("DS", 2),
    }  # fmt: skip
    path = dicom(stored | 0xF000, tags)
    # x = -998 ... -992; ((x + 994.5) / 10 + 0.5), then 1 - it; padding black.
    expected = [1 - 0.15, 1 - 0.35, 1 - 0.55, 1 - 0.75, 0.0]
    assert opinion_of(path.read_bytes()).pixels.ravel() == pytest.approx(expected, abs=1e-12)
    assert read_image(path).pixels.ravel() == pytest.approx(expected, abs=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_a_guess_is_announced_and_a_silent_difference_is_told(dicom):
    path = dicom(np.array([[1, 2, 40000]], np.uint16), {0x00280102: ("US", 0)})
    image = read_image(path)
    assert verdict(path.read_bytes(), image.pixels, image.warnings) == "announced"
    assert verdict(path.read_bytes(), image.pixels, ()).startswith("different: ")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tail", [b"", struct.pack("<HHI", 0xFFFC, 0xFFFC, 9)[:5]], ids=["whole", "cut behind pixels"])
def test_damage_behind_the_pixels_changes_no_pixel(dicom, tail):
    path = dicom(np.array([[0, 10, 20]], np.uint8))
    path.write_bytes(path.read_bytes() + tail)
    assert read_image(path).pixels.tolist() == [[0.0, 0.5, 1.0]]
    assert outcome(path) == "equal"
