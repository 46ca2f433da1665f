"""Modality gap, alignment and uniformity against loops over pairs."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.measures.geometry import Geometry


def rows(seed: int) -> np.ndarray:
    return unit_embeddings(np.random.default_rng(seed).normal(size=(6, 4)), "Image")


def test_numbers_are_those_of_loops_over_records_and_pairs() -> None:
    image, text = rows(0), rows(1)
    found = Geometry.numbers(image, text, np.ones((6, 1)))
    gap = math.dist(image.mean(0), text.mean(0))
    near = sum(math.dist(v, t) ** 2 for v, t in zip(image, text, strict=True)) / 6
    assert found["modality_gap"][0] == pytest.approx(gap, rel=1e-12)
    assert found["alignment"][0] == pytest.approx(near, rel=1e-12)
    for name, side in (("image", image), ("text", text)):
        pairs = [math.exp(-2 * math.dist(side[i], side[j]) ** 2) for i in range(6) for j in range(6) if i != j]
        assert found[f"uniformity {name}"][0] == pytest.approx(math.log(sum(pairs) / 30), rel=1e-12)


def test_a_record_of_weight_two_is_that_record_twice_and_is_no_pair_with_itself() -> None:
    image, text = rows(2), rows(3)
    weights = np.array([2.0, 1, 1, 1, 1, 0])[:, None]
    found = Geometry.numbers(image, text, weights)
    twice = [0, 0, 1, 2, 3, 4]
    assert found["alignment"][0] == pytest.approx(((image[twice] - text[twice]) ** 2).sum(1).mean())
    pairs = [
        math.exp(-2 * math.dist(image[i], image[j]) ** 2)
        for a, i in enumerate(twice)
        for b, j in enumerate(twice)
        if i != j and a != b
    ]
    assert found["uniformity image"][0] == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_a_collapsed_model_is_perfectly_aligned_and_not_uniform_and_a_rotation_changes_nothing() -> None:
    same = np.tile(rows(4)[:1], (6, 1))
    found = Geometry.numbers(same, same, np.ones((6, 1)))
    assert found["alignment"][0] == found["uniformity image"][0] == 0
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(4, 4)))[0]
    before, after = (
        Geometry.numbers(image, text, np.ones((6, 1)))
        for image, text in ((rows(6), rows(7)), (rows(6) @ turn, rows(7) @ turn))
    )
    assert all(after[name][0] == pytest.approx(before[name][0]) for name in before)


def test_each_number_lies_in_its_interval_though_resampling_lengthens_a_mean_and_pairs_a_patient_with_himself() -> None:
    """120 studies, three of each patient, each of 256 numbers: draws alone lie beside the gap and the uniformity."""
    generator, studies = np.random.default_rng(8), 120
    own = np.repeat(generator.normal(size=(studies // 3, 256)), 3, axis=0) + 0.5
    image, text = (unit_embeddings(own + 0.3 * generator.normal(size=own.shape), "Image") for _ in range(2))
    names = [f"s{i}" for i in range(studies)]
    people = [f"p{i // 3}" for i in range(studies)]
    manifest = Manifest.of({"id": names, "id.patient": people, "text": names}, root=Path())
    columns: Any = {"image/embedding": image, "text/embedding": text}
    evaluation: Any = SimpleNamespace(
        judged=SimpleNamespace(manifest=manifest, table=FeatureTable(names, columns)),
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        options=SimpleNamespace(seed=0, split="test"),
        drawn={"seed": 0, "resamples": 200},
    )
    evaluation.paired = partial(Evaluation.paired, evaluation)
    (result,) = Geometry().run(evaluation)
    assert [row.metric for row in result.metrics] == ["modality_gap", "alignment", "uniformity", "uniformity"]
    for row in result.metrics:
        assert row.value is not None
        assert row.interval.low is not None
        assert row.interval.high is not None
        assert row.interval.low < row.value < row.interval.high
        assert row.interval.form == "recentred"
