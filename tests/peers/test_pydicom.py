"""pydicom's own tests of pixels, lookup tables and windows, run against our reading.

They are in pydicom's source distribution, not in what pip installs: `.ci/run` unpacks them. The shims lend pydicom's
names and habits: a data set that was changed in memory, and windows that fill the range of the stored bits.
"""

from __future__ import annotations

import importlib.util
import io
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGBaseline8Bit

from medvlp.io.dicom_display import modality_of, table_of
from medvlp.io.dicom_file import parse
from medvlp.io.dicom_frames import read_frame
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout, check_layout
from medvlp.io.dicom_windows import choose_window
from medvlp.io.image import Account
from medvlp.io.lut import LookupTable, window

TESTS = Path(__file__).parents[2] / f".ci/peers/pydicom-{pydicom.__version__}/tests/pixels"
if not TESTS.is_dir():
    pytest.skip("pydicom's own tests are not unpacked: .ci/run does it", allow_module_level=True)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pydicom_{name}", TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# Those that pydicom ships. Baseline JPEG is lossy, and its colours are RGB here where pydicom keeps YBR: left out.
REFERENCES = [
    reference
    for syntax, some in module("pixels_reference").PIXEL_REFERENCE.items()
    for reference in some
    if syntax != JPEGBaseline8Bit and get_testdata_file(reference.name, download=False)
]
theirs = module("test_processing")


def own_header(dataset: pydicom.Dataset) -> Header:
    """Return what our parser would see of a data set that is in memory."""
    plain = pydicom.Dataset()
    for element in dataset:
        if element.tag.group != 0x7FE0:
            plain.add(deepcopy(element))
    for item in (*plain.get("ModalityLUTSequence", ()), *plain.get("VOILUTSequence", ())):
        if not isinstance(item.LUTData, bytes):
            item.add_new("LUTData", "OW", np.asarray(item.LUTData, "<u2").tobytes())
    written = io.BytesIO()
    pydicom.dcmwrite(written, plain, implicit_vr=True, little_endian=True)
    written.seek(0)
    return Header(pydicom.dcmread(written, force=True), "<")


def own_layout(dataset: pydicom.Dataset) -> Layout:
    bits, signed = dataset.BitsStored, bool(dataset.PixelRepresentation)
    return Layout(1, 1, 1, 1, max(8, bits), bits, bits - 1, signed, "MONOCHROME2", 0, "int")


def own_modality(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    found = modality_of(own_layout(dataset), (own_header(dataset),), Account()).apply(values)
    return found.astype(np.uint16 if dataset.get("ModalityLUTSequence") else np.float64)


def own_voi(values: np.ndarray, dataset: pydicom.Dataset, index: int = 0) -> np.ndarray:
    items = own_header(dataset).items("VOILUTSequence")
    table = table_of(items[index], "VOILUTSequence", signed_first=bool(dataset.PixelRepresentation))
    return table(values).astype(np.uint8 if table.bits == 8 else np.uint16)


def own_window(values: np.ndarray, dataset: pydicom.Dataset, index: int = 0) -> np.ndarray:
    header, layout = own_header(dataset), own_layout(dataset)
    chosen = choose_window((header,), index, [])
    modality = modality_of(layout, (header,), Account()).apply
    # pydicom fills the range that stored values can have; ours is from 0 to 1.
    ends = (0.0, 2.0**modality.bits - 1) if isinstance(modality, LookupTable) else (layout.minimum, layout.maximum)
    low, high = ends if isinstance(modality, LookupTable) else modality(np.array(ends, np.float64))
    assert chosen is not None
    return window(values, chosen.center, chosen.width, chosen.function) * (high - low) + low


def own_voi_or_window(values: np.ndarray, dataset: pydicom.Dataset, *, prefer_lut: bool = True) -> np.ndarray:
    return (own_voi if prefer_lut and dataset.get("VOILUTSequence") else own_window)(values, dataset)


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "apply_modality_lut", own_modality)
    monkeypatch.setattr(theirs, "apply_voi", own_voi)
    monkeypatch.setattr(theirs, "apply_windowing", own_window)
    monkeypatch.setattr(theirs, "apply_voi_lut", own_voi_or_window)


PROCESSING = {
    "TestModalityLUT": "slope_intercept lut_sequence lutdata_ow file_meta original_encoding",
    "TestApplyWindowing": (
        "window_single_view window_multi_view window_uint8 window_uint16 window_uint32 window_int8 window_int16 "
        "window_int32 window_multi_frame window_rescale window_modality_lut rescale_empty"
    ),
    "TestApplyVOI": (
        "voi_single_view voi_multi_view voi_multi_frame voi_uint8 voi_uint16 voi_int8 voi_int16 voi_lutdata_ow "
        "file_meta"
    ),
    "TestApplyVOILUT": "only_windowing only_voi voi_windowing",
}


@pytest.mark.parametrize(
    ("tests", "name"), [(key, name) for key, names in PROCESSING.items() for name in names.split()]
)
def test_processing(tests: str, name: str) -> None:
    getattr(getattr(theirs, tests)(), f"test_{name}")()


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: one.name)
def test_stored_values_are_those_that_pydicom_refers_to(reference: object) -> None:
    with reference.path.open("rb") as stream:
        parsed = parse(stream)
        layout = check_layout(parsed, [])
        frames = [read_frame(parsed, layout, frame, []) for frame in range(layout.frames)]
    values = np.stack([frame.values for frame in frames]).astype(reference.dtype)
    reference.test(values if layout.frames > 1 else values[0], plugin="pylibjpeg")
