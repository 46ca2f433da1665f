"""Findings lie where the facts say and grow with their size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medvlp.phantom.body import build_body
from medvlp.phantom.bones import rib_lines
from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.plant_pleura import Collapse
from medvlp.phantom.projection import geometry_of, project
from medvlp.phantom.rules import RULES, fractured_ribs
from medvlp.phantom.vessels import blood_cloud
from tests.phantom.voxels import hounsfield_of, mask_of

SIDED = ("effusion", "pneumothorax", "consolidation", "nodule", "atelectasis", "rib_fracture", "pacemaker")


def example(chests: Any, name: str, side: str, size: float = 0.0, **more: Any) -> Any:
    rule = RULES[name]
    lobe = "upper" if rule.lobes else ""
    return chests.finding(name, side, lobe=more.pop("lobe", lobe), size=size or rule.median, **more)


@pytest.mark.parametrize("name", SIDED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_finding_lies_on_its_side_of_body_and_film(chests: Any, name: str, side: str) -> None:
    body = chests.body(example(chests, name, side))
    mask = mask_of(body, 0)
    x = np.broadcast_to(body.grid.x, mask.shape)[mask]
    across = np.median(x)
    if name != "pacemaker":  # its leads cross to the heart
        assert np.mean(x > 0 if side == "left" else x < 0) > 0.98
    assert across > 0 if side == "left" else across < 0 or name == "pacemaker"
    box = project(body, "PA", size=128).boxes[0]
    assert box is not None
    if name != "pacemaker":
        middle = (box[0] + box[2]) / 2
        assert middle > 64 if side == "left" else middle < 64  # the patient's left at the image's right


@pytest.mark.parametrize(("name", "sizes"), [
    ("effusion", (20.0, 50.0, 110.0)),
    ("pneumothorax", (12.0, 28.0, 60.0)),
    ("consolidation", (40.0, 70.0, 110.0)),
    ("nodule", (8.0, 16.0, 28.0)),
])  # fmt: skip
def test_projected_area_grows_with_size(chests: Any, name: str, sizes: tuple[float, ...]) -> None:
    areas = [
        int(project(chests.body(example(chests, name, "left", size, lobe="lower" if name == "consolidation" else "")),
                    "PA", size=192).masks[0].sum())
        for size in sizes
    ]  # fmt: skip
    assert areas == sorted(areas)
    assert areas[-1] > 1.8 * areas[0]


def test_nodule_has_its_diameter_and_density(chests: Any) -> None:
    body = chests.body(example(chests, "nodule", "right", 20.0))
    points = body.regions[0].points
    assert points is not None
    extent = points.max(0) - points.min(0)
    assert np.all(np.abs(extent - 20.0) < 3.5)
    center = points.mean(0)
    inside = np.sqrt(((body.soft.xyz - center) ** 2).sum(1)) < 10.0
    volume = 4 / 3 * np.pi * 10.0**3
    assert body.soft.volume[inside].sum() == pytest.approx(0.86 * volume, rel=0.12)  # solid tissue in place of lung


def test_rim_of_a_pneumothorax_is_air_without_vessels(chests: Any) -> None:
    what = example(chests, "pneumothorax", "left", 35.0)
    body = chests.body(what)
    rim = mask_of(body, 0).reshape(-1)
    assert np.median(body.density.reshape(-1)[rim]) < 0.05
    before = blood_cloud(body.anatomy, 1).xyz
    after = Collapse(body.anatomy, 1, what.size).moved(before)
    normal, left = (rim[body.grid.index(points)].mean() for points in (before, after))
    assert normal > 0.025
    assert left < 0.15 * normal


def test_pneumothorax_leaves_its_rim_at_the_apex(chests: Any) -> None:
    size = 30.0
    body = chests.body(example(chests, "pneumothorax", "right", size))
    column = mask_of(body, 0).any((1, 2))
    rim = mask_of(body, 0).reshape(len(column), -1).sum(1)
    lung = ((body.lung > 0.5)[:, :, :60] & ~mask_of(body, 0)[:, :, :60]).any((1, 2))
    top_of_lung = body.grid.z[np.flatnonzero(lung)[-1], 0, 0]
    assert rim.any()
    assert body.anatomy.apex - top_of_lung == pytest.approx(size, abs=7.0)


def test_effusion_is_water_and_reaches_its_height(chests: Any) -> None:
    body = chests.body(example(chests, "effusion", "left", 60.0))
    mask = mask_of(body, 0)
    assert 0 < np.median(hounsfield_of(body)[mask]) < 40
    surface = body.grid.z[np.flatnonzero(mask.any((1, 2)))[-1], 0, 0]
    floor = body.grid.z[np.flatnonzero((body.lung > 0.5)[:, :, 60:].any((1, 2)))[0], 0, 0]
    assert surface - floor > 60.0  # along the wall it rises above its level


def test_supine_effusion_layers_behind(chests: Any) -> None:
    body = chests.body(example(chests, "effusion", "left", 60.0), views=("AP",))
    mask = mask_of(body, 0)
    behind = np.broadcast_to(body.grid.y, mask.shape)[mask]
    lung = np.broadcast_to(body.grid.y, mask.shape)[(body.lung > 0.5)]
    assert np.median(behind) > np.median(lung) + 20.0


@pytest.mark.parametrize("name", ["consolidation", "nodule"])
def test_the_upper_lobe_is_above_the_others_and_the_middle_one_in_front_of_the_lower(chests: Any, name: str) -> None:
    body = {
        lobe: chests.body(chests.finding(name, "right", lobe=lobe, size=25.0)) for lobe in ("upper", "middle", "lower")
    }
    height, depth = (
        {lobe: np.nonzero(mask_of(one, 0))[axis].mean() for lobe, one in body.items()} for axis in (0, 1)
    )  # to the head, to the back
    assert height["upper"] > max(height["middle"], height["lower"])
    assert depth["middle"] < depth["lower"]


def test_collapse_raises_the_diaphragm_and_draws_the_heart_over(chests: Any) -> None:
    normal = chests.body()
    body = chests.body(chests.finding("atelectasis", "left", lobe="lower", size=25.0, amount=0.7))
    assert body.anatomy.domes[1] > normal.anatomy.domes[1] + 10
    x = np.broadcast_to(body.grid.x, body.heart.shape)
    assert (x * body.heart).sum() / body.heart.sum() > (x * normal.heart).sum() / normal.heart.sum() + 3


def test_broken_rib_is_the_named_one_and_steps_off(chests: Any) -> None:
    what = chests.finding("rib_fracture", "right", size=9.0, seed=8)
    body, normal = chests.body(what), chests.body()
    points = body.regions[0].points
    assert points is not None
    number = fractured_ribs(what)[0]
    line = rib_lines(normal.anatomy).one(0, number).line
    distance = np.sqrt(((points[:, None] - line[None]) ** 2).sum(-1)).min(1)
    assert distance.max() > 5.0
    assert distance.min() < 2.0


def test_tube_ends_above_the_carina_and_lies_in_the_midline(chests: Any) -> None:
    body = chests.body(chests.finding("endotracheal_tube", "midline", size=45.0), views=("AP",))
    points = body.regions[0].points
    assert points is not None
    assert points[:, 2].min() == pytest.approx(45.0 + 4.0 * body.anatomy.scale[2], abs=1.0)
    assert np.abs(points[:, 0]).max() < 8.0


@pytest.mark.parametrize("name", ["pacemaker", "central_line"])
def test_wires_reach_the_heart_or_caval_vein(chests: Any, name: str) -> None:
    for side in ("left", "right"):
        body = chests.body(chests.finding(name, side, amount=1.0))
        points = body.regions[0].points
        assert points is not None
        lowest = points[np.argmin(points[:, 2])]
        inside = body.heart.reshape(-1)[body.grid.index(lowest[None])][0]
        assert inside > 0.3
        assert hounsfield_of(body).max() > 1500


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_is_seen_on_a_frontal_film(chests: Any, name: str) -> None:
    side = RULES[name].sides[0][0]
    body = chests.body(example(chests, name, side))
    projection = project(body, "PA", size=128)
    box = projection.boxes[0]
    assert box is not None
    assert 0 <= box[0] < box[2] <= 128
    assert 0 <= box[1] < box[3] <= 128
    plain = project(chests.body(), "PA", size=128)
    change = np.abs(projection.line_integral - plain.line_integral)
    assert change[projection.masks[0]].mean() > 0.02


def test_pixels_of_points_follow_the_pinhole_camera(chests: Any) -> None:
    body = chests.body()
    geometry = replace(geometry_of(body, "PA", 256), shear=0.0, roll=0.0)
    near = np.array([[50.0, geometry.detector, geometry.center[1]]], np.float32)
    far = near + np.array([[0.0, 200.0, 0.0]], np.float32)
    middle = (256 - 1) / 2
    (_, c0, m0), (_, c1, m1) = geometry.pixels(near), geometry.pixels(far)
    assert m0[0] == pytest.approx(1.0)
    assert m1[0] == pytest.approx(1800.0 / 1600.0)
    assert (c1[0] - middle) / (c0[0] - middle) == pytest.approx(1800.0 / 1600.0, rel=1e-4)


def test_a_leaning_picture_leans_points_and_voxels_alike(chests: Any) -> None:
    body = chests.body(example(chests, "consolidation", "left", 60.0))
    upright = replace(geometry_of(body, "PA", 128), roll=0.0)
    leaning = replace(upright, roll=10.0)
    points = np.array([[70.0, 0.0, 20.0]], np.float32)
    row, column, _ = upright.pixels(points)
    spot = np.zeros((128, 128), np.float32)
    spot[round(float(row[0])), round(float(column[0]))] = 1.0
    turned = leaning.turned(spot)
    there = np.unravel_index(np.argmax(turned), turned.shape)
    expected = leaning.pixels(points)
    assert abs(there[0] - expected[0][0]) < 1.2
    assert abs(there[1] - expected[1][0]) < 1.2
    assert expected[0][0] < row[0]  # right of the centre goes up when it leans counterclockwise


def test_no_two_studies_are_centred_alike(chests: Any) -> None:
    first = chests.body()
    second = build_body(replace(chests.study(), number=1), seed=0)
    assert first.pose != second.pose
    assert np.array_equal(first.density, second.density)
