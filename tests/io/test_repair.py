"""Repair only when asked to: a gap is filled and a tilt taken out by linear interpolation, and it is told."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.io import read_volume
from tests.io.ct_series import SLOPE, Grid, check, stored, truth, write_enhanced, write_series

# Between two points h mm apart a straight line misses the truth by at most h^2 / 8 times its second derivative: nothing
# along x, y or z, where the truth is linear.
STORED = SLOPE / 2 + 1e-3


def tilted(degrees, axis=1, **options):
    """A gantry tilt: slices stay axial, each is moved along y (or x)."""
    step = [0.0, 0.0, 2.0]
    step[axis] = 2.0 * np.tan(np.radians(degrees))
    return Grid(step=tuple(step), **options)


def test_missing_slices_are_made_and_named_and_the_others_are_untouched(dicom, tmp_path):
    kept = (0, 1, 2, 3, 7, 8, 9, 10, 11)
    grid = Grid(slices=12)
    volume = read_volume(write_series(dicom, tmp_path / "series", grid, only=kept), on_gap="resample")
    assert volume.shape == (12, 10, 12)
    check(volume, error=2 * STORED)  # the truth is linear along z
    for k in kept:
        assert volume.voxels[k] == pytest.approx(stored(grid.values(k)) * SLOPE - 3000, abs=1e-3)
    report = volume.geometry
    assert (report.slices, report.made, report.spacing) == (9, 3, pytest.approx(2.0))
    assert [(gap.after, gap.mm) for gap in report.gaps] == [(3, pytest.approx(8.0))]
    assert "gap: 3 of 12 slices made by linear interpolation every 2 mm: 4, 5, 6" in volume.steps


def test_uneven_steps_become_even_from_the_first_to_the_last_slice(dicom, tmp_path):
    moved = {k: (0.0, 0.0, 0.15 * k * k / 7) for k in range(8)}
    volume = read_volume(write_series(dicom, tmp_path / "series", Grid(moved=moved)), on_gap="resample")
    check(volume, error=2 * STORED)
    assert volume.world_of(0, 0, 0)[2] == pytest.approx(-7.0)
    assert volume.world_of(volume.shape[0] - 1, 0, 0)[2] == pytest.approx(-7.0 + 14.0 + 0.15 * 7)


def test_shear_keeps_every_voxel_and_says_where_it_lies(dicom, tmp_path):
    grid = tilted(20.0)
    volume = read_volume(write_series(dicom, tmp_path / "series", grid), on_tilt="shear")
    check(volume)
    expected = np.stack([stored(grid.values(k)) for k in range(8)]) * SLOPE - 3000
    assert volume.voxels == pytest.approx(expected, abs=1e-3)
    assert volume.affine.to("LPS").matrix[:3, 2] == pytest.approx(grid.step, abs=1e-5)
    assert volume.geometry.tilt == pytest.approx(20.0, abs=1e-3)
    assert "tilt: 20 degrees kept in a sheared affine, voxels as they are" in volume.steps


@pytest.mark.parametrize(("degrees", "axis"), [(20.0, 1), (-20.0, 1), (1.0, 1), (15.0, 0), (-20.0, 0)])
def test_resampling_makes_a_straight_grid_that_holds_all_slices(dicom, tmp_path, degrees, axis):
    grid, spacing, size = tilted(degrees, axis), (0.5, 0.8)[axis], (12, 10)[axis]
    volume = read_volume(write_series(dicom, tmp_path / "series", grid), on_tilt="resample")
    matrix = volume.affine.to("LPS").matrix[:3, :3]
    assert matrix == pytest.approx(np.diag([0.5, 0.8, 2.0]), abs=1e-6)
    wider = int(np.ceil(abs(7 * grid.step[axis]) / spacing))
    assert volume.shape == ((8, 10 + wider, 12) if axis else (8, 10, 12 + wider))
    lowest, outside = volume.voxels.min(), 0
    for k, j, i in np.ndindex(volume.shape):
        right, anterior, superior = volume.world_of(k, j, i)
        place = ((-right, -anterior)[axis] - grid.position(k)[axis]) / spacing  # in the slice as it was taken
        if -1e-6 <= place <= size - 1 + 1e-6:
            assert volume.voxels[k, j, i] == pytest.approx(truth(-right, -anterior, superior), abs=2 * STORED)
        else:
            assert volume.voxels[k, j, i] == lowest
            outside += 1
    assert any(f"{outside} voxels outside of all slices are {lowest:g}" in step for step in volume.steps)


def test_a_tilted_series_with_a_gap_is_repaired_in_both_ways(dicom):
    path = write_enhanced(dicom, tilted(15.0), order=(7, 0, 1, 2, 5, 6))
    volume = read_volume(path, on_gap="resample", on_tilt="shear")
    assert volume.shape == (8, 10, 12)
    # Along the stack's own direction z and y both grow: second derivative 2 x 0.3 sin cos < 0.15 HU / mm^2.
    length = 3 * 2.0 / np.cos(np.radians(15.0))
    check(volume, error=2 * STORED + 0.15 * length**2 / 8)


def test_an_even_straight_series_is_the_same_with_all_repairs_allowed(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series")
    plain, allowed = read_volume(folder), read_volume(folder, on_gap="resample", on_tilt="resample")
    assert (plain.voxels == allowed.voxels).all()
    assert (plain.affine.matrix == allowed.affine.matrix).all()
    assert plain.steps == allowed.steps
