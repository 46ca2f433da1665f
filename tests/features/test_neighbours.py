"""Nearest neighbours are those of a full sort, however the table is cut, filtered and folded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.features.case_index import alike, nearest


@given(st.integers(0, 10_000))
def test_it_is_the_first_of_each_group_of_a_full_sort(seed: int) -> None:
    draws = np.random.default_rng(seed)
    count, k, block = (int(draws.integers(1, high)) for high in (60, 12, 20))
    table = draws.integers(-2, 3, (count, 3)).astype(np.float32)  # many ties
    table[draws.random(count) < 0.1] = np.nan
    query = draws.integers(-2, 3, 3).astype(np.float32)
    keep, group = draws.random(count) < 0.8, draws.integers(0, 8, count)
    expected: list[tuple[float, int]] = []
    taken: set[int] = set()
    scored = [(-float(row @ query), at) for at, row in enumerate(table) if keep[at] and np.isfinite(row).all()]
    for score, at in sorted(scored):
        if group[at] not in taken:
            taken.add(int(group[at]))
            expected.append((-score, at))
    found = nearest(query, table, k, keep=keep, group=group, block=block)
    assert found.rows.tolist() == [at for _, at in expected[:k]]
    assert found.scores.tolist() == [score for score, _ in expected[:k]]
    alone = nearest(query, table, k, keep=keep, block=block)
    assert alone.rows.tolist() == [at for _, at in sorted(scored)[:k]]


def test_rows_are_alike_by_name_or_by_vector_and_through_each_other() -> None:
    names = np.array(["a", "a", "b", "c", "", ""])
    table = np.array([[0.0], [1.0], [1.0], [2.0], [np.nan], [np.nan]])
    groups = alike(names, table).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4], groups[5]}) == 4


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match=r"A vector of \(2,\) has no 1 neighbours in a table of \(4, 3\)"):
        nearest(np.ones(2), np.ones((4, 3)), 1)
