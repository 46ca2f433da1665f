"""nibabel's own tests of reading what it wrote, and of naming axes, run against our reading.

The shim lends nibabel's names: an image that nibabel loads shows the voxels and the place that our reader finds. Left
out are those that need float64, complex or four-dimensional voxels or infinite slopes, which ours refuses or rounds.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import nibabel as nib
import nibabel.tests.test_nifti1 as nifti1
import nibabel.tests.test_nifti2 as nifti2
import nibabel.tests.test_orientations as orientations
import numpy as np
import pytest
from nibabel.filebasedimages import FileMap
from nibabel.tests.test_image_load_save import test_negative_load_save, test_save_load_endian  # noqa: F401  (found by pytest)
from nibabel.tests.test_orientations import test_aff2axcodes, test_io_orientation_column_strength_regression  # noqa: F401

from medvlp.io.affine import Affine
from medvlp.io.nifti import read_nifti

LETTERS = ("LR", "PA", "IS")


def own_axes(affine: np.ndarray, labels: tuple[tuple[str, str], ...] = LETTERS) -> tuple[str, ...]:
    names = dict(zip("".join(LETTERS), "".join("".join(pair) for pair in labels), strict=True))
    return tuple(names[letter] for letter in Affine(np.asarray(affine, float)).codes)


def loader(theirs: Callable[..., nib.Nifti1Image]) -> Callable[..., nib.Nifti1Image]:
    def load(file_map: FileMap, **options: object) -> nib.Nifti1Image:
        image = theirs(file_map, **options)
        stream = file_map["image"].get_prepare_fileobj(mode="rb")
        stream.seek(0)
        volume = read_nifti(io.BytesIO(stream.read()))
        voxels = volume.voxels.T.reshape(image.shape)
        image.get_fdata = lambda: voxels.astype(np.float64)
        image._affine = np.asarray(volume.affine)
        return image

    return load


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {kind: loader(kind.from_file_map) for kind in (nib.Nifti1Image, nib.Nifti2Image)}
    for kind, load in own.items():
        monkeypatch.setattr(kind, "from_file_map", load)
    monkeypatch.setattr(orientations, "aff2axcodes", own_axes)
    monkeypatch.setattr(orientations, "io_orientation", lambda affine: nib.orientations.axcodes2ornt(own_axes(affine)))


IMAGES = (
    "test_big_offset_exts", "test_data_hdr_cache", "test_dynamic_dtype_aliases", "test_int_int_scaling",
    "test_load_mmap", "test_load_pixdims", "test_load_save", "test_nan2zero_range_ok", "test_no_finite_values",
    "test_offset_errors", "test_offset_to_zero", "test_read_no_extensions", "test_static_dtype_aliases",
)  # fmt: skip
GENERAL = ("test_float_int_spread", "test_load", "test_rt_bias")


@pytest.mark.parametrize("tests", [nifti1.TestNifti1Image, nifti2.TestNifti2Image])
@pytest.mark.parametrize("name", IMAGES)
def test_image(tests: type, name: str) -> None:
    getattr(tests(), name)()


@pytest.mark.parametrize("tests", [nifti1.TestNifti1General, nifti2.TestNifti2General])
@pytest.mark.parametrize("name", GENERAL)
def test_rounding(tests: type, name: str) -> None:
    getattr(tests(), name)()
