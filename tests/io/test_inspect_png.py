"""inspect tells what reading did as JSON; write_png writes what was read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medvlp.core.errors import UserError
from medvlp.io import Image, inspect, preset_info, preset_names, read_image, write_png


def test_inspect_is_the_designs_document(dicom):
    path = dicom(np.arange(6, dtype=np.uint8).reshape(2, 3), {0x00280030: ("DS", [0.8, 0.5]), 0x00185101: ("CS", "PA")})
    found = json.loads(json.dumps(inspect(path)))
    assert found["path"] == str(path)
    assert (found["kind"], found["shape"], found["spacing"]) == ("image", [2, 3], [0.8, 0.5])
    assert found["meta"]["ViewPosition"] == "PA"
    assert found["meta"]["Rows"] == 2
    assert [step.split(":")[0] for step in found["steps"]] == [
        "stored values", "modality", "values of interest", "polarity", "spacing",
    ]  # fmt: skip


def test_inspect_of_a_volume(tmp_path):
    import nibabel

    nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.diag([1, 2, 3, 1])).to_filename(tmp_path / "a.nii.gz")
    found = json.loads(json.dumps(inspect(tmp_path / "a.nii.gz")))
    assert (found["kind"], found["shape"], found["spacing"]) == ("volume", [2, 3, 4], [3, 2, 1])
    assert found["meta"]["affine"][2][2] == 3


def test_real_chest_radiograph_of_15_bits_is_white_on_bone():
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("the package pydicom-data is not installed")
    image = read_image(path)
    assert image.shape == (1955, 1841)
    assert image.spacing is None
    assert "PixelSpacing 0, 0 is not a spacing and was ignored" in image.warnings
    assert image.meta["BitsStored"] == 15
    # Mediastinum and spine against the upper lung fields and the air beside the neck.
    spine, lung, air = image.pixels[1000:1300, 900:1000], image.pixels[400:600, 500:600], image.pixels[60:120, 30:120]
    assert spine.mean() > lung.mean() + 0.2 > air.mean()


@pytest.mark.parametrize(("bits", "step"), [(8, 1 / 255), (16, 1 / 65535)])
def test_png_holds_the_pixels(tmp_path, bits, step):
    pixels = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    write_png(Image(pixels), tmp_path / "a.png", bits=bits)
    assert read_image(tmp_path / "a.png").pixels == pytest.approx(pixels, abs=step / 2 + 1e-7)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_png_of_colour(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)) / np.float32(255)
    write_png(Image(pixels.astype(np.float32)), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", color="rgb").pixels == pytest.approx(pixels, abs=1e-6)
    with pytest.raises(UserError, match="gray images only"):
        write_png(Image(pixels), tmp_path / "b.png", bits=16)


def test_png_into_what_is_no_folder_is_a_user_error_and_a_missing_one_is_made(tmp_path):
    write_png(Image(np.zeros((2, 2), np.float32)), tmp_path / "absent" / "a.png")
    with pytest.raises(UserError, match="cannot be written"):
        write_png(Image(np.zeros((2, 2), np.float32)), tmp_path / "absent" / "a.png" / "b.png")
    assert [path.name for path in tmp_path.rglob("*")] == ["absent", "a.png"]


def test_presets_are_named_and_versioned():
    for name in preset_names():
        preset = preset_info(name)
        assert preset.name == name
        assert name.endswith("_v1")
        assert preset.description
