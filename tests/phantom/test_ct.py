"""CT: the same anatomy as the radiographs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.ct import CtVolume, render_ct
from medvlp.phantom.projection import geometry_of, project


def world(volume: CtVolume, mask: np.ndarray) -> np.ndarray:
    """Return the centre of a mask as (x, y, z) in mm."""
    k, j, i = (part.mean() for part in np.nonzero(mask))
    dz, dy, dx = volume.spacing
    x, y, z = volume.origin
    return np.array([[x + i * dx, y + j * dy, z + k * dz]], np.float32)


@pytest.mark.parametrize("side", ["left", "right"])
def test_nodule_lies_at_the_same_place_on_film_and_ct(chests: Any, side: str) -> None:
    body = chests.body(chests.finding("nodule", side, lobe="upper", size=22.0))
    volume = render_ct(body, generator=numpy_generator(0, 0, "ct"))
    row, column, _ = geometry_of(body, "PA", 256).pixels(world(volume, volume.masks[0]))
    mask = project(body, "PA", size=256).masks[0]
    center = [part.mean() for part in np.nonzero(mask)]
    assert abs(center[0] - row[0]) < 2.5
    assert abs(center[1] - column[0]) < 1.5


def test_nodule_is_soft_tissue_in_lung(chests: Any) -> None:
    body = chests.body(chests.finding("nodule", "left", lobe="upper", size=26.0))
    volume = render_ct(body, generator=numpy_generator(0, 0, "ct"))
    assert volume.hu[volume.masks[0]].max() > -20
    assert -950 < np.median(volume.hu[:, 60:68, 20:110]) < 200


def test_volume_has_the_field_of_a_chest_and_units_of_a_scanner(chests: Any) -> None:
    volume = render_ct(chests.body(), generator=numpy_generator(0, 0, "ct"))
    assert volume.hu.dtype == np.int16
    assert volume.hu.shape == (48, 128, 128)
    assert 300 < volume.spacing[2] * 128 < 420
    assert 250 < volume.spacing[0] * 48 < 420
    assert volume.hu.min() >= -1024
    assert volume.hu.max() <= 3071
    assert np.median(volume.hu[:, :6, :6]) == pytest.approx(-1000, abs=15)  # air beside the body


def test_other_shapes_show_the_same_anatomy(chests: Any) -> None:
    body = chests.body(chests.finding("effusion", "left", size=70.0))
    small, large = (
        render_ct(body, shape=shape, generator=numpy_generator(0, 0, "ct")) for shape in ((24, 64, 64), (60, 160, 160))
    )
    volumes = [mask.sum() * np.prod(ct.spacing) for ct in (small, large) for mask in ct.masks]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)
    np.testing.assert_allclose(world(small, small.masks[0]), world(large, large.masks[0]), atol=4.0)


def test_same_generator_gives_the_same_bytes(chests: Any) -> None:
    digests = {
        hashlib.sha256(render_ct(chests.body(), generator=numpy_generator(0, seed, "ct")).hu.tobytes()).hexdigest()
        for seed in (0, 0, 1)
    }
    assert len(digests) == 2
