"""Attenuation and Hounsfield units of known slabs."""

from __future__ import annotations

import numpy as np

from medvlp.phantom.materials import MU, WEIGHTS, attenuation, voxel_hounsfield


def test_slab_of_water_follows_beer_lambert_at_each_energy() -> None:
    thickness = np.array([0.0, 10.0, 100.0, 250.0], np.float32)
    expected = -np.log(
        sum(w * np.exp(-mu * thickness.astype(np.float64)) for w, mu in zip(WEIGHTS, MU[0], strict=True))
    )
    np.testing.assert_allclose(attenuation(thickness), expected, atol=2e-5)


def test_slab_of_bone_in_water_attenuates_as_bone() -> None:
    soft, bone = np.array([10.0], np.float32), np.array([10.0], np.float32)
    mu = MU[0] + MU[1]  # a bone coefficient is what it has above water
    expected = -np.log(float(np.sum(WEIGHTS * np.exp(-mu * 10.0))))
    np.testing.assert_allclose(attenuation(soft, bone), [expected], rtol=1e-5)


def test_beam_hardens_so_a_thick_slab_attenuates_less_per_mm() -> None:
    thin, thick = attenuation(np.array([1.0, 300.0], np.float32))
    assert thick / 300.0 < thin
    assert 0.018 < thick / 300.0 < 0.0206


def test_hounsfield_scale_has_air_and_water_where_the_standard_puts_them() -> None:
    nothing = np.zeros(3, np.float32)
    hu = voxel_hounsfield(np.array([0.0, 1.0, 1.05], np.float32), nothing, nothing, nothing)
    np.testing.assert_allclose(hu, [-1000.0, 0.0, 50.0], atol=1e-3)


def test_crossing_tubes_are_not_denser_than_tissue() -> None:
    lung, twice = np.array([0.2], np.float32), np.array([1.7], np.float32)
    nothing = np.zeros(1, np.float32)
    np.testing.assert_allclose(voxel_hounsfield(lung, twice, nothing, nothing), [70.0], atol=1e-2)
