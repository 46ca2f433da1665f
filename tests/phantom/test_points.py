"""Clouds conserve volume, whatever they are splatted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.phantom.points import Cloud, ball, curve, join, plane_splat, polyline, tubes, volume_splat


@given(radius=st.floats(0.3, 9.0), hollow=st.sampled_from([0.0, 0.5, 0.8]), length=st.floats(5.0, 80.0))
def test_tube_has_the_volume_of_a_cylinder(radius: float, hollow: float, length: float) -> None:
    start, end = np.zeros((1, 3), np.float32), np.array([[0.0, 0.6, 0.8]], np.float32) * np.float32(length)
    cloud = tubes(start, end, np.full(1, radius), np.full(1, radius), step=1.0, hollow=hollow)
    assert cloud.volume.sum() == pytest.approx(np.pi * radius**2 * (1 - hollow**2) * length, rel=1e-3)


def test_tube_points_lie_inside_its_wall() -> None:
    line = curve([(0, 0, 0), (0, 0, 50)], 1.0)
    cloud = polyline(line, 5.0, step=1.0, hollow=0.7)
    radial = np.hypot(cloud.xyz[:, 0], cloud.xyz[:, 1])
    assert radial.max() <= 5.001
    assert radial.min() >= 3.49


def test_curve_goes_through_its_knots_and_keeps_its_step() -> None:
    knots = [(0.0, 0.0, 0.0), (10.0, 5.0, 0.0), (20.0, 0.0, 5.0)]
    line = curve(knots, 0.5)
    for knot in knots:
        assert np.sqrt(((line - np.array(knot)) ** 2).sum(1)).min() < 1e-4
    assert np.sqrt((np.diff(line, axis=0) ** 2).sum(1)).max() < 0.75


def test_ball_fills_a_sphere_around_its_centre() -> None:
    points = ball((1.0, 2.0, 3.0), 5.0, 0.5)
    assert len(points) * 0.5**3 == pytest.approx(4 / 3 * np.pi * 125, rel=0.02)
    np.testing.assert_allclose(points.mean(0), [1.0, 2.0, 3.0], atol=1e-5)


def test_plane_splat_keeps_mass_and_centre_of_mass() -> None:
    image = plane_splat(np.array([3.25, 5.5]), np.array([4.75, 2.0]), np.array([2.0, 6.0]), (10, 12))
    rows, columns = np.indices(image.shape)
    assert image.sum() == pytest.approx(8.0)
    assert (image * rows).sum() / 8 == pytest.approx((2 * 3.25 + 6 * 5.5) / 8)
    assert (image * columns).sum() / 8 == pytest.approx((2 * 4.75 + 6 * 2.0) / 8)


def test_points_outside_the_picture_are_dropped_not_moved_to_its_rim() -> None:
    image = plane_splat(np.array([-7.0, 50.0, 4.0]), np.array([3.0, 3.0, -20.0]), np.ones(3), (8, 8))
    assert image.sum() == 0.0


def test_volume_splat_gives_the_share_of_voxels_filled() -> None:
    cloud = Cloud(np.array([[5.0, 7.5, 9.0], [100.0, 0.0, 0.0]], np.float32), np.array([4.0, 4.0], np.float32))
    field = volume_splat(cloud, (0.0, 0.0, 0.0), (3.0, 2.5, 2.0), (6, 6, 6))
    assert field.sum() * 15.0 == pytest.approx(4.0)  # the second lies outside
    assert field[3, 3, 2] == pytest.approx(4.0 / 15.0 / 2)


def test_join_of_clouds_keeps_all_points() -> None:
    one = Cloud(np.zeros((2, 3), np.float32), np.ones(2, np.float32))
    assert join([one, one.scaled(2.0)]).volume.tolist() == [1.0, 1.0, 2.0, 2.0]
