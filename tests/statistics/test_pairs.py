"""Shares over pairs of patients: the dyadic variance by its definition, its limits, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from medvlp.statistics.pairs import share_of_pairs


def by_definition(hit: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    residual, total = hit - hit.mean(), 0.0
    for p in range(len(hit)):
        for q in range(len(hit)):
            if {first[p], second[p]} & {first[q], second[q]}:
                total += residual[p] * residual[q]
    apart = len({*first, *second}) / 2
    independent = min(len(hit), hit.mean() * (1 - hit.mean()) / (apart / (apart - 1) * total / len(hit) ** 2))
    return independent * (stdtrit(len(hit) - 1, 0.975) / stdtrit(apart - 1, 0.975)) ** 2


@pytest.mark.parametrize("seed", range(20))
def test_the_effective_number_is_that_of_the_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    people = np.array([draw.choice(12, 2, replace=False) for _ in range(30)])
    effect = draw.normal(size=12)
    hit = (effect[people].sum(axis=1) + draw.normal(size=30) > 0).astype(float)
    found = share_of_pairs(hit, people[:, 0], people[:, 1])
    assert found.effective == pytest.approx(by_definition(hit, *people.T), rel=1e-9)
    assert found.effective <= 30


def test_pairs_that_disagree_where_they_share_somebody_are_worth_no_more_than_all() -> None:
    hit, first = np.arange(12) % 3 == 0, np.arange(12)
    assert share_of_pairs(hit, first, first + 1).effective == pytest.approx(by_definition(hit, first, first + 1))
    apart = share_of_pairs(hit, first, first + 1).patients / 2
    most = 12 * (stdtrit(11, 0.975) / stdtrit(apart - 1, 0.975)) ** 2
    assert share_of_pairs(hit, first, first + 1).effective == pytest.approx(most)


def test_pairs_that_share_nobody_are_independent() -> None:
    found = share_of_pairs([1, 0, 1], [0, 1, 2], [3, 4, 5])
    assert (found.n, found.patients, found.effective) == (3, 6, 3.0)


def test_of_a_share_of_all_or_none_the_patients_limit_the_number() -> None:
    assert share_of_pairs([1, 1, 1, 1], [0, 0, 0, 1], [1, 2, 3, 2]).effective == 2
    assert share_of_pairs([], [], []).value is None


def test_intervals_cover_the_truth_where_patients_take_part_in_many_pairs() -> None:
    """Each of 60 patients has an effect and is in three pairs; the truth is one half."""
    draw, covered, naive, runs = np.random.default_rng(0), 0, 0, 600
    for _ in range(runs):
        people = np.concatenate([draw.permutation(60).reshape(-1, 2) for _ in range(3)])
        effect = draw.normal(size=60)
        hit = effect[people].sum(axis=1) + draw.normal(size=90) > 0
        found = share_of_pairs(hit, people[:, 0], people[:, 1])
        interval = found.wilson()
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.5 <= interval.high
        naive += abs(hit.mean() - 0.5) <= 1.96 * 0.5 / 90**0.5
    assert covered / runs >= 0.93
    assert naive / runs < covered / runs


def test_of_a_patient_who_is_in_every_pair_the_number_is_not_that_of_the_pairs() -> None:
    assert share_of_pairs([1, 0, 1, 0], [0, 0, 0, 0], [1, 2, 3, 4]).effective < 4
