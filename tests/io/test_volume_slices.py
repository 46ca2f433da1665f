"""Slices of a volume hang one way, whatever the order and direction of its axes; their places are the affine's."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage
from medvlp.io.volume import Volume
from medvlp.io.volume_read import read_volume
from medvlp.io.volume_slices import VolumeSlices, open_slices

ORIENTATIONS = ("LPS", "RAS", "SRP", "AIL", "PSR", "IRA")
SIZES = (7, 6, 5)  # along the patient's left, back and head


def patient(dtype: type = np.int16) -> nibabel.Nifti1Image:
    """A volume along L, P and S with a mark that no turning or mirroring leaves where it is."""
    voxels = np.arange(np.prod(SIZES), dtype=np.int64).reshape(SIZES)
    affine = np.array([[-0.7, 0, 0, 60], [0, -0.7, 0, 40], [0, 0, 4.0, -90], [0, 0, 0, 1]])
    return nibabel.Nifti1Image(voxels.astype(dtype), affine)


def written(folder: Path, codes: str, suffix: str) -> Path:
    image = patient()
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    path = folder / f"{codes}{suffix}"
    image.as_reoriented(turn).to_filename(path)
    return path


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_orientation_gives_the_same_slices_at_the_same_places(tmp_path: Path, plane: str, suffix: str) -> None:
    voxels = np.asarray(patient().dataobj).astype(np.float32)  # (left, back, head)
    want = {
        "axial": voxels.transpose(2, 1, 0),
        "coronal": voxels.transpose(1, 2, 0)[:, ::-1],
        "sagittal": voxels.transpose(0, 2, 1)[:, ::-1],
    }[plane]
    middle = (np.array(SIZES) - 1) / 2
    cut = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    for codes in ORIENTATIONS:
        slices = open_slices(written(tmp_path, codes, suffix), axis=plane)  # type: ignore[arg-type]
        assert slices.shape == want.shape
        assert np.array_equal(slices.read(range(len(slices))), want), codes
        for n in range(len(slices)):
            index = middle.copy()
            index[cut] = n
            place = patient().affine @ [*index, 1]
            np.testing.assert_allclose(slices.position(n), place[:3], atol=1e-4)
        spacing = {"axial": (0.7, 0.7), "coronal": (4.0, 0.7), "sagittal": (4.0, 0.7)}[plane]
        np.testing.assert_allclose(slices.spacing, spacing, rtol=1e-6)
        np.testing.assert_allclose(slices.step, 4.0 if plane == "axial" else 0.7, rtol=1e-6)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_acquisition_axis_is_the_one_that_is_unlike_the_others(tmp_path: Path, codes: str) -> None:
    assert open_slices(written(tmp_path, codes, ".nii")).plane == "axial"


@pytest.mark.parametrize(
    ("spacing", "plane"), [((1, 1, 1), "axial"), ((0.5, 0.6, 0.7), "axial"), ((0.6, 1, 1), "sagittal")]
)
def test_where_spacings_do_not_tell_the_last_axis_is_cut(spacing: tuple[float, float, float], plane: str) -> None:
    volume = Volume(np.zeros((2, 3, 4), np.float32), Affine(np.diag([*spacing, 1.0])))
    from medvlp.io.volume_slices import slices_of

    assert slices_of(volume).plane == plane


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), plane=st.sampled_from(["axial", "coronal", "sagittal"]))
def test_a_slice_lies_where_the_affine_says_also_in_an_oblique_volume(seed: int, plane: str) -> None:
    draws = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(draws.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = turn * draws.uniform(0.5, 4, 3)
    matrix[:3, 3] = draws.normal(0, 100, 3)
    sizes = draws.integers(1, 6, 3)
    # Every voxel holds its own place along one axis of the world.
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in sizes), indexing="ij"), -1)
    world = grid @ matrix[:3, :3].T + matrix[:3, 3]
    slices = {}
    for axis in range(3):
        voxels = world[..., axis].transpose(2, 1, 0).astype(np.float32)
        slices[axis] = VolumeSlices(Volume(voxels, Affine(matrix)), plane)  # type: ignore[arg-type]
    places = np.stack([slices[axis].read(range(len(slices[axis]))) for axis in range(3)], -1)  # (S, H, W, 3)
    for n in range(len(places)):
        np.testing.assert_allclose(places[n].mean((0, 1)), slices[0].position(n), atol=1e-3)
    # Slices, rows and columns run towards the patient's directions that the plane's table says, in RAS.
    towards = {"axial": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)), "coronal": ((0, -1, 0), (0, 0, -1), (-1, 0, 0))}
    towards["sagittal"] = ((-1, 0, 0), (0, 0, -1), (0, -1, 0))
    for axis, direction in enumerate(towards[plane]):
        if places.shape[axis] > 1:
            step = np.diff(places, axis=axis).reshape(-1, 3)[0]
            assert step @ direction > 0


def test_a_plain_file_is_read_as_the_whole_volume_is_scaling_and_byte_order_included(tmp_path: Path) -> None:
    for dtype, slope in ((np.int16, 1.0), (np.uint8, 0.5), (np.float32, 1.0), (">i2", 2.0)):
        image = patient()
        image = nibabel.Nifti1Image(np.asarray(image.dataobj).astype(dtype), image.affine)
        if slope != 1:
            image.header.set_slope_inter(slope, -3)
        path = tmp_path / "a.nii"
        image.to_filename(path)
        whole = read_volume(path)
        slices = open_slices(path, axis="axial")
        assert np.array_equal(slices.read([4, 0, 2]), whole.voxels[[4, 0, 2]])
        assert np.array_equal(slices.values(), whole.voxels)
        assert slices.meta == whole.meta


def test_a_cut_off_file_is_refused_when_it_is_opened_and_when_it_shrinks_afterwards(tmp_path: Path) -> None:
    path = written(tmp_path, "LPS", ".nii")
    data = path.read_bytes()
    slices = open_slices(path)
    path.write_bytes(data[:-10])
    with pytest.raises(UnreadableImage, match="truncated"):
        open_slices(path)
    assert slices.read([0]).shape == (1, 6, 7)
    with pytest.raises(UnreadableImage, match="it ends before its last voxel"):
        slices.read([4])
