"""Sixteen bits hold what a scanner stored; the left of the patient is at the right hand whatever the file's axes."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from medvlp.io import read_volume
from medvlp.io.affine import Affine
from medvlp.io.lut import percentile_range
from medvlp.io.stored_volume import stored_volume
from medvlp.io.volume import Volume


@pytest.mark.parametrize(("slope", "inter"), [(1, 0), (1, -1024), (0.5, 0), (0.003, 7)])
def test_scaled_integers_are_exact(tmp_path, slope, inter):
    image = nibabel.Nifti1Image(np.random.default_rng(0).integers(-20, 20, (9, 8, 7)).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    stored = stored_volume(volume)
    hung = volume.voxels[:, ::-1, ::-1]  # to the back and to the left, where RAS runs to the front and to the right
    np.testing.assert_allclose(stored.slope * stored.values + stored.intercept, hung, rtol=1e-6)
    assert stored.error <= 1e-6 * np.abs(hung).max()


def test_numbers_beyond_16_bits_are_rounded_and_the_error_is_told(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    stored = stored_volume(read_volume(tmp_path / "a.nii"))
    span = np.nanmax(voxels) - np.nanmin(voxels)
    assert 0 < stored.error <= span / 65535
    assert stored.values.min() == -32768


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("values", [(-400.0, 1200.0), (0.0, 65534.0), (0.0, 65535.0), (-1e-7, 3e5 + 0.25), (7.0, 7.0)])
def test_what_is_no_number_is_none_again_and_all_else_is_what_it_was(values, missing):
    voxels = np.tile(np.array([*values, missing, values[0]], np.float32), (3, 4, 1))
    again = stored_volume(Volume(voxels, Affine(np.eye(4)))).volume({}).voxels
    there = np.isfinite(voxels)[:, ::-1, ::-1]
    np.testing.assert_array_equal(np.isfinite(again), there)
    np.testing.assert_allclose(again[there], voxels[:, ::-1, ::-1][there], atol=(values[1] - values[0]) / 65534)


def test_a_volume_without_any_number_has_none():
    voxels = np.full((2, 3, 4), np.nan, np.float32)
    assert np.isnan(stored_volume(Volume(voxels, Affine(np.eye(4)))).volume({}).voxels).all()


def test_zero_stays_zero_so_that_a_model_is_shown_the_percentiles_of_the_file():
    """An MR image with some ringing below 0: percentiles are of what is not 0, two thirds of it are background."""
    draws = np.random.default_rng(0)
    voxels = np.where(draws.random((12, 24, 24)) < 0.3, draws.normal(500, 150, (12, 24, 24)), 0).astype(np.float32)
    voxels[0, 0, :6] = -3.21
    stored = stored_volume(Volume(voxels, Affine(np.eye(4))))
    again = stored.volume({}).voxels
    assert (again == 0).sum() == (voxels == 0).sum()
    assert 0 < stored.error < np.ptp(voxels) / 65534
    assert percentile_range(again, 0.5, 99.5) == pytest.approx(percentile_range(voxels, 0.5, 99.5), abs=0.1)


def test_slices_with_slopes_of_their_own_are_as_fine_as_16_bits_are():  # PS3.3 C.8.9.1: each image of PET has its own
    draws = np.random.default_rng(0)
    slopes = np.array([0.03, 0.2, 2.7, 0.4, 0.01], np.float32)
    voxels = draws.integers(0, 1000, (5, 12, 12)).astype(np.float32) * slopes[:, None, None]
    stored = stored_volume(Volume(voxels, Affine(np.eye(4))))
    hung = voxels[:, ::-1, ::-1]
    assert np.abs(stored.slope * stored.values + stored.intercept - hung).max() == pytest.approx(stored.error, rel=1e-3)
    assert stored.error <= np.ptp(voxels) / 65534


def test_slices_of_a_file_are_exact_beside_one_that_was_interpolated():
    voxels = np.random.default_rng(0).integers(-1000, 2000, (5, 8, 8)).astype(np.float32)
    voxels[3] = voxels[2] / 3 + voxels[4] * 2 / 3
    stored = stored_volume(Volume(voxels, Affine(np.eye(4))))
    again = (stored.slope * stored.values + stored.intercept)[:, ::-1, ::-1]
    np.testing.assert_array_equal(np.delete(again, 3, axis=0), np.delete(voxels, 3, axis=0))
    assert 0 < stored.error <= 0.5


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_left_back_and_head_are_found_on_any_axes(tmp_path, order):
    shape, rng = (6, 7, 8), np.random.default_rng(1)
    for signs in itertools.product([1, -1], repeat=3):
        matrix = np.zeros((4, 4))
        for axis, (row, sign) in enumerate(zip(order, signs, strict=True)):
            matrix[row, axis] = sign * (axis + 1.0)
        matrix[3, 3] = 1
        matrix[:3, 3] = rng.normal(size=3)
        voxels = np.zeros(shape, np.int16)
        corner = [shape[a] - 1 if signs[a] > 0 else 0 for a in range(3)]  # far along +R, +A, +S
        voxels[tuple(corner)] = 1
        nibabel.save(nibabel.Nifti1Image(voxels, matrix), tmp_path / "a.nii")
        volume = read_volume(tmp_path / "a.nii")
        stored = stored_volume(volume)
        again = stored.volume({})
        assert again.world_of(*np.argwhere(again.voxels == 1)[0]) == pytest.approx(
            volume.world_of(*np.argwhere(volume.voxels == 1)[0])
        )
        assert np.argwhere(stored.values == 1).tolist() == [[stored.values.shape[0] - 1, 0, 0]]  # head, front, right
        assert stored.oblique == pytest.approx(0, abs=1e-3)
