"""Which pictures are mixed with which."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medvlp.data.manifest import Manifest
from medvlp.measures.shape_texture import ShapeTexture, _pairs


def paired(truth: list[int], people: list[str], most: int = 20) -> list[tuple[int, int]]:
    return _pairs(np.array(truth), np.array(people), range(10, 10 + len(truth)), most)


def test_a_picture_is_mixed_with_one_of_another_patient() -> None:
    assert paired([1, 0, 1, 0], ["A", "A", "B", "B"]) == [(10, 13), (12, 11)]
    assert paired([1, 0, 0], ["A", "A", "B"], most=1) == [(10, 12)]
    assert paired([1, 0, 1, 0], ["A"] * 4) == []
    assert paired([1, 1], ["A", "B"]) == []


def test_pictures_of_as_many_patients_are_taken_evenly() -> None:
    truth = [1] * 5 + [0] * 9
    assert paired(truth, [str(each) for each in range(14)], most=3) == [(10, 15), (12, 19), (14, 23)]


@pytest.mark.parametrize(("sign", "share"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_the_share_is_of_pairs_that_the_form_decides_and_a_tie_is_half(sign: float, share: float) -> None:
    """Pictures with the finding are bright, a coarse thing: a score that is the brightness follows the form alone."""
    rows, noise = range(8), np.random.default_rng(0)
    pictures = {at: (0.7 - 0.4 * (at % 2) + 0.02 * noise.normal(size=(1, 32, 32))).astype(np.float32) for at in rows}
    names = [f"p{at}" for at in rows]
    columns = {"id": names, "image": names, "id.patient": names, "label.mass": [1.0, 0.0] * 4}
    data = Manifest.of(columns, root=Path())
    evaluation: Any = SimpleNamespace(judged=SimpleNamespace(manifest=data), options=SimpleNamespace(split="test"))
    asked: Any = SimpleNamespace(
        answer=SimpleNamespace(labels=("mass",)),
        scores=lambda samples, ask: {"mass": np.array([sign * float(each.fields["image"].mean()) for each in samples])},
    )
    for row in ShapeTexture()._shares(evaluation, asked, pictures):
        assert (row.metric, row.value, row.counts.n) == ("shape_share", share, 4)
