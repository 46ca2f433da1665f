"""Radiographs: physics of the projection, and the detector's response."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.materials import attenuation
from medvlp.phantom.points import Cloud
from medvlp.phantom.projection import geometry_of, project
from medvlp.phantom.radiograph import DetectorLook, detect, expose, letter_image

PLAIN = DetectorLook(marker="")


def slab(chests: Any, thickness_voxels: int) -> Any:
    """Return a body that is nothing but a slab of water across the beam."""
    body = chests.body()
    empty = Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    density = np.zeros_like(body.density)
    density[:, 20 : 20 + thickness_voxels] = 1.0
    return replace(body, density=density, soft=empty, bone=empty, arms=empty, metal=empty)


def test_slab_of_water_projects_to_its_beer_lambert_exponent(chests: Any) -> None:
    path = project(slab(chests, 24), "PA", size=64).line_integral
    np.testing.assert_allclose(path[20:44, 25:39], attenuation(np.array([120.0], np.float32))[0], rtol=1e-4)


def test_lungs_are_dark_and_bone_and_heart_bright(chests: Any) -> None:
    body = chests.body()
    film = expose(project(body, "PA", size=256), PLAIN, generator=numpy_generator(0, 0, "film")).astype(float) / 4095
    geometry = geometry_of(body, "PA", 256)

    def at(x: float, y: float, z: float) -> float:
        row, column, _ = geometry.pixels(np.array([[x, y, z]], np.float32))
        r, c = round(float(row[0])), round(float(column[0]))
        return float(film[r - 3 : r + 4, c - 3 : c + 4].mean())

    lung, heart, liver, air = at(-95, 0, -40), at(45, -30, -90), at(-70, 0, body.anatomy.domes[0] - 60), film[3, 3]
    assert air < 0.06
    assert air < lung < 0.55
    assert heart > lung + 0.2
    assert liver > heart


def test_left_is_shown_at_the_right_and_front_at_the_left(chests: Any) -> None:
    body = chests.body(views=("PA", "LATERAL"))
    frontal, lateral = geometry_of(body, "PA", 256), geometry_of(body, "LATERAL", 256)
    left = np.array([[60.0, 0.0, 0.0]], np.float32)
    assert frontal.pixels(left)[1][0] > 127.5
    front = np.array([[0.0, -60.0, 0.0]], np.float32)
    assert lateral.pixels(front)[1][0] < lateral.pixels(-front)[1][0]
    assert frontal.pixels(left + 10)[0][0] < frontal.pixels(left)[0][0]  # the head is up


def test_heart_is_larger_on_a_bedside_film(chests: Any) -> None:
    body = chests.body(views=("AP",))
    heart = np.array([[-40.0, -40.0, -80.0], [80.0, -40.0, -80.0]], np.float32)

    def width(view: Any) -> float:
        geometry = geometry_of(body, view, 256)
        column = geometry.pixels(heart)[1]
        return float(column[1] - column[0]) * geometry.pixel

    assert width("AP") > 1.08 * width("PA")
    assert body.anatomy.domes[0] > chests.body().anatomy.domes[0] + 15  # a shallow breath


def test_photon_noise_falls_with_the_root_of_exposure(chests: Any) -> None:
    projection = project(slab(chests, 40), "PA", size=128)
    look = replace(PLAIN, equalise=0.0, sharpness=0.0, detail=0.0, noise=0.0, blur=0.0, vignetting=0.0, bits=16)
    middle = (slice(40, 88), slice(50, 78))
    deviations = []
    for exposure in (20.0, 80.0):
        # A wedge keeps the display range the same for both.
        wedge = projection.line_integral + np.linspace(0, 1.5, 128, dtype=np.float32)[:, None]
        tilted = replace(projection, line_integral=wedge)
        pair = [
            expose(tilted, replace(look, exposure=exposure), generator=numpy_generator(0, i, "noise")).astype(float)
            for i in (0, 1)
        ]
        deviations.append(np.std((pair[0] - pair[1])[middle]))
    assert deviations[0] / deviations[1] == pytest.approx(2.0, rel=0.1)


def test_scatter_lowers_contrast(chests: Any) -> None:
    projection = project(chests.body(), "PA", size=128)
    contrast = []
    for share in (0.05, 0.6):
        exponent = detect(projection, replace(PLAIN, scatter_fraction=share), numpy_generator(0, 0, "noise"))
        contrast.append(np.quantile(exponent[30:100, 30:100], 0.9) - np.quantile(exponent[30:100, 30:100], 0.1))
    assert contrast[1] < 0.75 * contrast[0]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_stored_values_use_the_bits_they_may(chests: Any, bits: int) -> None:
    film = expose(
        project(chests.body(), "PA", size=64), replace(PLAIN, bits=bits), generator=numpy_generator(0, 0, "f")
    )
    assert film.dtype == np.uint16
    assert film.max() < 2**bits
    assert film.max() > 0.8 * 2**bits


def test_same_generator_gives_the_same_bytes_at_any_thread_count(chests: Any) -> None:
    film = [
        expose(project(chests.body(), view, size=128), PLAIN, generator=numpy_generator(1, 0, "film")).tobytes()
        for view in ("PA", "PA", "LATERAL")
    ]
    digests = [hashlib.sha256(part).hexdigest() for part in film]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("corner", "rows", "columns"), [
    ("upper right", slice(0, 32), slice(96, 128)),
    ("upper left", slice(0, 32), slice(0, 32)),
    ("lower left", slice(96, 128), slice(0, 32)),
    ("lower right", slice(96, 128), slice(96, 128)),
])  # fmt: skip
def test_marker_is_burned_into_its_corner(chests: Any, corner: Any, rows: slice, columns: slice) -> None:
    projection = project(chests.body(), "PA", size=128)
    bare, marked = (
        expose(projection, replace(PLAIN, marker=text, marker_corner=corner), generator=numpy_generator(0, 0, "f"))
        for text in ("", "R")
    )
    changed = np.argwhere(bare != marked)
    inside = np.zeros(bare.shape, bool)
    inside[rows, columns] = True
    assert len(changed) >= 15
    assert inside[changed[:, 0], changed[:, 1]].all()


def test_letters_differ_from_their_mirror_images() -> None:
    for letter in "LR":
        image = letter_image(letter, 14)
        assert not np.array_equal(image, image[:, ::-1])


def test_border_is_collimated(chests: Any) -> None:
    film = expose(
        project(chests.body(), "PA", size=128),
        replace(PLAIN, border=(20, 12, 8, 16), border_value=0.0, low=0.0),
        generator=numpy_generator(0, 0, "f"),
    )
    assert not film[:10].any()
    assert not film[:, -6:].any()
    assert not film[-4:].any()
    assert not film[:, :8].any()
