"""Which pictures are mixed with which."""

from __future__ import annotations

import numpy as np

from medvlp.measures.shape_texture import _pairs


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
