"""CT-RATE: raw values are rescaled once, Hounsfield units never, and what cannot be told is refused."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.io import UnreadableImage, Volume, ct_rate_hu
from medvlp.io.affine import Affine

AFFINE = Affine(np.array([[-1, 0, 0, 10], [0, 0, 2, 20], [0, 3, 0, 30], [0, 0, 0, 1]], float))
SPACING = (2.0, 3.0, 1.0)  # of AFFINE along z, y, x


def chest(seed: int = 0, padding: float = -1000.0) -> np.ndarray:
    """A body of water, fat, muscle and bone around two lungs, air about it and padding in the corners, in HU."""
    z, y, x = np.ogrid[0:16, 0:32, 0:32]
    radius = np.hypot((y - 16) / 10, (x - 16) / 14) + 0 * z
    values = np.full(radius.shape, -1000.0)
    values[radius < 1] = -100
    values[radius < 0.9] = 50
    for side in (10, 22):
        values[np.broadcast_to(np.hypot((y - 16) / 6, (x - side) / 4) < 1, values.shape)] = -850
    values[:, 22:25, 15:18] = 700
    values[np.hypot(y - 16, x - 16) + 0 * z > 18] = padding
    noise = np.random.default_rng(seed).normal(0, 15, values.shape)
    return np.rint(np.where(values == padding, values, values + noise)).astype(np.float32)


def volume(values: np.ndarray) -> Volume:
    return Volume(np.asarray(values, np.float32), AFFINE)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -1000), (1, -8192), (2, -2048), (0.5, -1024)])
@pytest.mark.parametrize("padding", [-1000.0, -1024.0, -2000.0])
def test_raw_values_are_rescaled_and_hounsfield_units_left_alone(slope, intercept, padding):
    truth = chest(padding=padding)
    raw = ct_rate_hu(volume((truth - intercept) / slope), slope, intercept, SPACING)
    assert raw.voxels == pytest.approx(truth, abs=1e-3)
    assert raw.voxels.dtype == np.float32
    assert raw.steps == (f"CT-RATE: side-car slope {slope:g} and intercept {intercept:g} applied, the values were raw",)
    done = ct_rate_hu(volume(truth), slope, intercept, SPACING)
    assert (done.voxels == truth).all()
    assert "not applied, the values are Hounsfield units already" in done.steps[0]
    assert raw.warnings == done.warnings == ()
    assert raw.meta["Units"] == done.meta["Units"] == "HU"


@pytest.mark.parametrize(
    ("values", "slope", "intercept"),
    [
        (np.zeros((4, 4, 4)), 1, -1024),  # nothing in it
        (chest() + 1024, 1, -8192),  # the side-car of another scan
        (chest() + 1024, 1, 0),  # raw, and a side-car that says it is not
        (np.repeat([-1000.0, -900.0, 0.0, 100.0], 16).reshape(4, 4, 4), 1, -100),  # a chest either way
    ],
)
def test_what_the_values_do_not_tell_is_refused(values, slope, intercept):
    with pytest.raises(UnreadableImage) as refused:
        ct_rate_hu(volume(values), slope, intercept, SPACING)
    assert refused.value.reason == "undecidable"


def test_three_hundredths_of_air_and_of_soft_tissue_are_a_chest_and_one_is_none():
    def told(share):
        values = np.full(1000, -400.0)
        values[: 10 * share], values[-10 * share :] = -900, 40
        return ct_rate_hu(volume(values.reshape(10, 10, 10)), 1, -8192, SPACING).steps[0]

    assert "not applied, the values are Hounsfield units already" in told(3)
    with pytest.raises(UnreadableImage, match="neither the values as they are nor the rescaled ones"):
        told(1)


def test_a_side_car_without_rescale_changes_nothing():
    truth = chest()
    found = ct_rate_hu(volume(truth), 1, 0, SPACING)
    assert (found.voxels == truth).all()
    assert "change nothing" in found.steps[0]


def test_true_spacing_replaces_a_wrong_one_and_is_announced():
    found = ct_rate_hu(volume(chest()), 1, -1024, (1.5, 0.75, 0.5))
    assert found.spacing == pytest.approx((1.5, 0.75, 0.5))
    assert found.world_of(0, 0, 0) == (10, 20, 30)
    assert found.world_of(2, 4, 8) == pytest.approx((10 - 8 * 0.5, 20 + 2 * 1.5, 30 + 4 * 0.75))
    assert found.warnings == ("the file's spacing 2 x 3 x 1 mm was replaced by the side-car's 1.5 x 0.75 x 0.5 mm",)


@pytest.mark.parametrize(
    ("slope", "intercept", "spacing", "named"),
    [
        (0, -1024, SPACING, "RescaleSlope 0"),
        (1, np.nan, SPACING, "RescaleIntercept nan"),
        (1, -1024, (1.0, 0.0, 1.0), "three lengths in mm"),
        (1, -1024, (1.0, 1.0), "three lengths in mm"),
    ],
)
def test_side_cars_that_are_no_numbers_are_user_errors(slope, intercept, spacing, named):
    with pytest.raises(DataError, match=named):
        ct_rate_hu(volume(chest()), slope, intercept, spacing)
