"""29 folders of CT: read right, or refused with the reason that the design names; repairs, asked for, are right."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.io import UnreadableImage, read_volume
from tests.io.ct_folders import AXIAL, CT_FOLDERS
from tests.io.ct_judge import in_place
from tests.io.ct_series import stored

EVERY = pytest.mark.parametrize("case", CT_FOLDERS, ids=lambda case: case.name)


def share_out_of_place(volume, case):
    return in_place(volume.voxels.transpose(2, 1, 0), volume.affine.to("LPS").matrix, case.truths)


@pytest.fixture
def folder(dicom, tmp_path):
    def write(case):
        (tmp_path / "ct").mkdir()
        case.write(dicom, tmp_path / "ct")
        return tmp_path / "ct"

    return write


def test_there_are_29_folders_of_different_names_and_each_pitfall_of_series_has_one():
    assert len({case.name for case in CT_FOLDERS}) == 29
    assert {12, *range(15, 20), 21, 22, 27} <= {case.pitfall for case in CT_FOLDERS}


@EVERY
def test_a_folder_is_read_right_or_refused_for_its_reason(folder, case):
    path = folder(case)
    if case.refused is None:
        assert share_out_of_place(read_volume(path), case) == 0
        return
    with pytest.raises(UnreadableImage) as caught:
        read_volume(path)
    assert caught.value.reason == case.refused


@pytest.mark.parametrize("case", [case for case in CT_FOLDERS if case.refused], ids=lambda case: case.name)
def test_a_repair_that_is_asked_for_is_right_and_what_is_lost_stays_refused(folder, case):
    path, options = folder(case), {"series": case.choice, "on_gap": "resample", "on_tilt": "shear"}
    if case.lost:
        with pytest.raises(UnreadableImage) as caught:
            read_volume(path, **options)
        assert caught.value.reason == case.refused
    else:
        assert share_out_of_place(read_volume(path, **options), case) == 0


def placed(matrix_of):
    voxels = np.stack([AXIAL.values(k).T for k in range(AXIAL.slices)], axis=-1)
    affine = np.diag([0.5, 0.8, 2.0, 1.0])
    affine[:3, 3] = AXIAL.origin
    return in_place(*matrix_of(voxels, affine), ((AXIAL, 0.0),))


def test_the_judge_takes_what_lies_in_place_in_any_order_of_axes():
    assert placed(lambda voxels, affine: (voxels, affine)) == 0
    assert placed(lambda voxels, affine: (voxels.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])) == 0
    assert placed(lambda voxels, affine: (voxels[..., None], affine)) == 0


def test_the_judge_sees_half_a_pixel_a_wrong_step_other_units_and_a_lost_end():
    moved, stretched = np.eye(4), np.diag([1.0, 1.0, 1.05, 1.0])
    moved[0, 3] = 0.25
    assert placed(lambda voxels, affine: (voxels, moved @ affine)) > 0.9
    assert placed(lambda voxels, affine: (voxels, stretched @ affine)) > 0.5
    assert placed(lambda voxels, affine: (stored(voxels), affine)) > 0.9
    assert placed(lambda voxels, affine: (voxels[..., :-1], affine)) == 1
    assert placed(lambda voxels, affine: (voxels, affine * np.nan)) == 1
