"""The picture of a volume: the middle axial slice with patient's left at the right hand, and the options of inspect."""

from __future__ import annotations

import json
import re

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medvlp.cli.main import app
from medvlp.core.errors import UserError
from medvlp.io import Affine, UnreadableImage, Volume, inspect, read_image, read_volume
from medvlp.io.middle_slice import middle_axial, usual_axial
from tests.io.ct_series import RESCALE_TYPE, UID, Grid, write_series

#: HU of a plane as it should be seen: rows to the back, columns to the patient's left; of ct_bone_v1's window
SEEN = np.array([[-600.0, 0.0, 600.0], [100.0, 200.0, 300.0]], np.float32)


def stored_as(codes):
    """Return a volume whose middle axial slice is SEEN, with its axes along the given directions."""
    head_back_left = np.stack([SEEN - 9, SEEN - 5, SEEN])  # slice 3 // 2 = 1 from the feet
    head_back_left[1], head_back_left[2] = SEEN, SEEN - 5
    order = {"L": (2, 1), "R": (2, -1), "P": (1, 1), "A": (1, -1), "S": (0, 1), "I": (0, -1)}
    axes = [order[code] for code in codes]
    ijk = head_back_left.transpose([axis for axis, _ in axes])
    ijk = ijk[tuple(slice(None, None, sign) for _, sign in axes)]
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for index, code in enumerate(codes):
        row = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}[code]
        matrix[row, index] = {"L": 0.5, "P": 0.8, "S": 2.0}[{"R": "L", "A": "P", "I": "S"}.get(code, code)]
        matrix[row, index] *= 1 if code in "RAS" else -1
    return Volume(np.ascontiguousarray(ijk.transpose(2, 1, 0)), Affine(matrix, "RAS"))


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAI", "PSL", "ASR", "SLP", "IRA"])
def test_left_is_right_and_front_is_up_whatever_the_axes(codes):
    volume = stored_as(codes)
    assert volume.affine.codes == codes
    picture = middle_axial(volume, "ct_bone_v1")
    center, width = 400, 1800
    assert picture.pixels == pytest.approx(np.clip((SEEN - center) / width + 0.5, 0, 1), abs=1e-6)
    assert picture.spacing == (0.8, 0.5)
    assert picture.steps[-1] == "picture: axial slice 1 of 3 from the feet, patient's left at the right hand"


def test_of_an_even_number_of_slices_the_middle_one_is_the_upper_of_two():
    voxels = np.repeat(np.float32([0, 100, 200, 300]), 4).reshape(4, 2, 2)
    image = middle_axial(Volume(voxels, Affine(np.diag([-1.0, -1.0, 2.0, 1.0]))), "ct_bone_v1")
    assert image.pixels == pytest.approx(np.full((2, 2), (200 + 500) / 1800))


def run(*words):
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


@pytest.mark.parametrize(("modality", "preset"), [("CT", "ct_mediastinum_v1"), ("PT", "mr_percentile_v1")])
def test_without_a_preset_a_series_is_shown_by_its_modality(dicom, tmp_path, modality, preset):
    """PET fits no window: that one must be chosen would lead nowhere."""
    change = {0x00080060: ("CS", modality), RESCALE_TYPE: None}
    series = write_series(dicom, tmp_path / "series", change=lambda k, tags: tags | change)
    ran = run(series, "--png", tmp_path / "a.png")
    assert ran.exit_code == 0, ran.output
    shown = usual_axial(read_volume(series))
    assert shown.steps[-2].startswith(f"values of interest: {preset}")
    assert read_image(tmp_path / "a.png").pixels == pytest.approx(shown.pixels, abs=0.5 / 255 + 1e-6)


def test_a_volume_of_no_modality_needs_a_preset_and_ct_no_other(tmp_path):
    volume = stored_as("LPS")
    nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), volume.affine.matrix).to_filename(tmp_path / "a.nii")
    ran = run(tmp_path / "a.nii", "--png", tmp_path / "a.png")
    assert isinstance(ran.exception, UserError)
    assert re.search(r"choose a preset, one of ct_.*, mr_percentile_v1\.", str(ran.exception))
    ct = Volume(volume.voxels, volume.affine, meta={"Modality": "CT"})
    with pytest.raises(UnreadableImage, match="mr_percentile_v1 is for Modality MR"):
        middle_axial(ct, "mr_percentile_v1")


def test_inspect_writes_the_middle_slice_of_a_volume_in_the_presets_window(tmp_path):
    volume = stored_as("RAS")
    path = tmp_path / "a.nii.gz"
    nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), volume.affine.matrix).to_filename(path)
    ran = run(path, "--preset", "ct_bone_v1", "--png", tmp_path / "a.png", "--json")
    assert ran.exit_code == 0, ran.output
    assert "values of interest: ct_bone_v1" in json.loads(ran.stdout)["steps"][-1]
    expected = np.clip((SEEN - 400) / 1800 + 0.5, 0, 1)
    assert read_image(tmp_path / "a.png").pixels == pytest.approx(expected, abs=0.5 / 255 + 1e-6)


def test_inspect_applies_the_window_that_is_asked_for(dicom):
    path = dicom(
        np.array([[0, 10, 20]], np.uint8),
        {0x00281050: ("DS", [10, 5]), 0x00281051: ("DS", [20, 10]), 0x00281055: ("LO", "WIDE\\NARROW"),
         0x00281056: ("CS", "LINEAR_EXACT")},
    )  # fmt: skip
    for asked, index in ((0, 0), (1, 1), ("narrow", 1)):
        steps = inspect(path, window=asked)["steps"]
        assert any(f"window {index} of 2" in step for step in steps)
    assert json.loads(run(path, "--window", "1", "--json").stdout)["steps"] == inspect(path, window=1)["steps"]
    assert inspect(path, window=2)["unreadable"] == "bad_window"


def test_inspect_chooses_a_series_of_a_folder(dicom, tmp_path):
    folder = tmp_path / "two"
    write_series(dicom, folder, Grid(slices=3))
    other = {UID: ("UI", "1.2.826.0.1.78")}
    write_series(dicom, folder, Grid(slices=5), change=lambda k, tags: tags | other, name=lambda k: f"b{k}.dcm")
    assert json.loads(run(folder, "--json").stdout)["unreadable"] == "several_series"
    shapes = {json.loads(run(folder, "--series", number, "--json").stdout)["shape"][0] for number in (1, 2)}
    assert shapes == {3, 5}


def test_options_that_do_not_fit_are_a_users_mistake(tmp_path):
    path = tmp_path / "a.nii"
    nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_filename(path)
    with pytest.raises(UserError, match="is a volume: choose a preset instead"):
        inspect(path, window=0)
    with pytest.raises(UserError, match="leave one of them out"):
        inspect(path, member="a.dcm", series=1)
    with pytest.raises(UserError, match="there is no preprocessing preset"):
        inspect(path, preset="ct_lungs")
    assert inspect(path, series=1)["unreadable"] == "bad_series"
