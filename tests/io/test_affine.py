"""One map with its frame: there and back is exact, and each axis points where its letter says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.io import Affine, Volume

MATRIX = np.array([[0.49, 0.1, 0.3, -120.7], [-0.08, 0.79, -0.2, 33.1], [0.02, 0.1, 1.9, 1.0 / 3], [0, 0, 0, 1]])


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), st.lists(st.integers(-500, 500), min_size=3, max_size=3))
def test_lps_and_ras_differ_in_the_signs_of_x_and_y_and_back_is_exact(origin, index):
    matrix = MATRIX.copy()
    matrix[:3, 3] = origin
    lps = Affine(matrix, "LPS")
    x, y, z = lps(*index)
    assert lps.to("RAS")(*index) == (-x, -y, z)
    assert (lps.to("RAS").to("LPS").matrix == matrix).all()
    assert lps.to("RAS").to("LPS").frame == "LPS"


def test_zero_has_no_sign_in_the_other_frame():
    assert not np.signbit(Affine(np.eye(4), "LPS").to("RAS").matrix[0, 1])


AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def test_letters_name_the_axis_that_each_index_grows_to():
    for order in itertools.permutations(("RL", "AP", "SI")):
        for letters in itertools.product(*order):
            matrix = np.eye(4)
            matrix[:3, :3] = np.array([AXES[letter] for letter in letters]).T * (0.5, 0.8, 2.0)
            assert Affine(matrix).codes == "".join(letters)
            assert Affine(matrix).to("LPS").codes == "".join(letters)
            assert Affine(matrix).spacing == (0.5, 0.8, 2.0)


def test_slices_that_are_turned_by_30_degrees_keep_the_nearest_letters():
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turned = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert Affine(turned, "LPS").codes == "LPS"


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1, 1, 0, 1.0]), np.diag([1, 1, np.nan, 1.0]), np.full((4, 4), 1.0) + np.eye(4)],
    ids=["three rows", "singular", "not a number", "no affine"],
)
def test_what_is_no_affine_is_refused(matrix):
    with pytest.raises(ValueError, match="affine"):
        Affine(matrix)


def test_another_frame_is_refused():
    with pytest.raises(ValueError, match="choose 'RAS' or 'LPS'"):
        Affine(np.eye(4), "RAI")  # type: ignore[arg-type]


def test_it_is_an_array_that_nobody_can_change():
    own = MATRIX.copy()
    affine = Affine(own)
    own[0, 0] = 7
    assert (np.asarray(affine) == MATRIX).all()
    assert (np.asarray(affine, np.float32) == MATRIX.astype(np.float32)).all()
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(affine)[0, 0] = 7


def test_a_volume_tells_ras_whatever_the_frame_of_its_affine():
    voxels = np.zeros((2, 2, 2), np.float32)
    ras = Affine(MATRIX)
    assert Volume(voxels, ras).world_of(3, 2, 1) == Volume(voxels, ras.to("LPS")).world_of(3, 2, 1) == ras(1, 2, 3)
    assert Volume(voxels, ras).spacing == ras.spacing[::-1]
