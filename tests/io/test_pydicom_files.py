"""On the test files of pydicom and pydicom-data, stored values are the same as pydicom's, bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data.data_manager import external_data_sources

from medvlp.io.dicom_file import parse
from medvlp.io.dicom_frames import read_frame
from medvlp.io.dicom_layout import check_layout
from medvlp.io.errors import UnreadableImage
from medvlp.io.sniff import open_regular

# Not get_testdata_files(): it downloads what the packages do not hold.
FOLDERS = [Path(pydicom.__file__).parent / "data" / "test_files"]
FOLDERS += [Path(s.data_path) for s in external_data_sources().values() if hasattr(s, "data_path")]
FILES = sorted({path for folder in FOLDERS for path in folder.rglob("*") if path.is_file()})
#: why we refuse what pydicom reads, or reads no better
REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "corrupt",  # its J2K header was overwritten
    "MR_truncated.dcm": "truncated",
    "badVR.dcm": "bad_header",  # Number of Frames "1A"
    "meta_missing_tsyntax.dcm": "bad_header",  # no Rows, no Columns
    "nested_priv_SQ.dcm": "bad_header",  # no Rows, no Columns
}


def pydicoms(path, frames):
    """Return pydicom's stored values with colour converted where ours is, or None where it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in data.file_meta:
            return None
        lossy_colour = data.file_meta.TransferSyntaxUID.endswith(".4.50") and data.SamplesPerPixel == 3
        try:
            return [pydicom.pixels.pixel_array(data, index=k, raw=not lossy_colour) for k in frames]
        except (RuntimeError, ValueError, AttributeError, NotImplementedError):
            return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_stored_values_are_pydicoms():
    compared, refused = 0, {}
    for path in FILES:
        notes: list[str] = []
        try:
            with open_regular(path) as stream:
                parsed = parse(stream)
                layout = check_layout(parsed, notes)
                frames = sorted({0, layout.frames - 1})
                ours = [read_frame(parsed, layout, k, notes).values for k in frames]
        except UnreadableImage as error:
            if parsed_has_pixels(path):
                refused[path.name] = error.reason
            continue
        theirs = pydicoms(path, frames)
        if theirs is None:
            continue
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.shape == other.shape, path.name
            # JPEG colour conversion may round differently between builds of libjpeg.
            assert np.abs(mine.astype(np.int64) - other).max() <= (1 if path.name.startswith("SC_") else 0), path.name
        compared += 1
    assert compared >= 150
    assert refused == REFUSED


def parsed_has_pixels(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "PixelData" in pydicom.dcmread(path, force=True)
        except Exception:
            return False
