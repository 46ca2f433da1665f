"""Anatomy: what the voxels of normal and changed chests measure."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from medvlp.phantom.body import Body, build_body
from tests.phantom.voxels import hounsfield_of


def heart_ratio(body: Body) -> float:
    """Return the cardiothoracic ratio measured on the masks, as on a film: greatest widths of heart and chest."""
    rows = (body.grid.z[:, 0, 0] < -15.0) & (body.grid.z[:, 0, 0] > min(body.anatomy.domes) - 10.0)
    front = body.grid.y[0, :, 0] < 32.0  # without the descending aorta
    heart = np.flatnonzero((body.heart[rows][:, front] > 0.5).any((0, 1)))
    chest = np.flatnonzero((body.lung > 0.5).any((0, 1)))
    return (heart[-1] - heart[0] + 1) / (chest[-1] - chest[0] + 1)


def digest(body: Body) -> str:
    parts = (body.density, body.soft.xyz, body.soft.volume, body.bone.xyz, body.bone.volume, body.metal.volume)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("patient", range(6))
def test_normal_hearts_are_less_than_half_as_wide_as_the_chest(chests: Any, patient: int) -> None:
    assert 0.39 <= heart_ratio(chests.body(patient=patient, female=patient % 2 == 0)) < 0.495


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_cardiomegaly_has_the_ratio_of_its_rule(chests: Any, amount: float) -> None:
    body = chests.body(chests.finding("cardiomegaly", amount=amount))
    assert heart_ratio(body) == pytest.approx(0.505 + 0.135 * amount, abs=0.025)


def test_tissues_have_their_hounsfield_units(chests: Any) -> None:
    body = chests.body()
    lung = hounsfield_of(body)[body.lung > 0.99]
    assert -920 < np.median(lung) < -740
    assert np.mean(lung < -600) > 0.85  # the rest is vessels
    heart = hounsfield_of(body)[(body.heart > 0.99) & (body.grid.z < -50)]
    assert 30 < np.median(heart) < 70
    assert hounsfield_of(body).min() == -1000.0
    assert 600 < np.quantile(hounsfield_of(body)[hounsfield_of(body) > 300], 0.99) < 1800  # cortex, never full metal


def test_axes_are_lps_the_liver_side_is_at_small_x(chests: Any) -> None:
    body = chests.body()
    lowest = np.array([np.flatnonzero((body.lung > 0.5)[:, :, column].any(1))[0] for column in (30, 90)])
    assert lowest[0] >= lowest[1]  # the right hemidiaphragm stands higher
    right, left = (body.heart[:, :, :60] > 0.5).sum(), (body.heart[:, :, 60:] > 0.5).sum()
    assert left > 1.3 * right
    spine = hounsfield_of(body)[:, :, 60] > 250
    assert np.nonzero(spine)[1].mean() > body.grid.shape[1] / 2  # behind


def test_same_seed_gives_the_same_bytes(chests: Any) -> None:
    study = chests.study(chests.finding("pneumothorax", "left", size=30.0), chests.finding("pacemaker", "left"))
    assert digest(build_body(study, seed=4)) == digest(build_body(study, seed=4))
    assert digest(build_body(study, seed=4)) != digest(build_body(study, seed=5))


def test_a_patient_looks_the_same_at_the_next_visit(chests: Any) -> None:
    before = chests.body()
    after = chests.body(chests.finding("nodule", "right", lobe="upper", size=15.0))
    assert np.array_equal(before.density, after.density)  # a nodule is finer than the voxels
    assert np.array_equal(before.bone.xyz, after.bone.xyz)


def test_patients_differ(chests: Any) -> None:
    assert not np.array_equal(chests.body(patient=1).density, chests.body(patient=2).density)


def test_emphysema_flattens_the_diaphragm_and_empties_the_lung(chests: Any) -> None:
    normal, ill = chests.body(), chests.body(chests.finding("emphysema", "bilateral", amount=0.9))
    assert (ill.lung > 0.5).sum() > 1.15 * (normal.lung > 0.5).sum()
    assert np.median(hounsfield_of(ill)[ill.lung > 0.99]) < np.median(hounsfield_of(normal)[normal.lung > 0.99]) - 40
    assert heart_ratio(ill) < heart_ratio(normal)
