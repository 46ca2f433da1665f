"""Rows linked by any of several identifiers, against a closure taken step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medvlp.data.text_table import linked

NAMES = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=7, max_size=7)


@given(NAMES, NAMES)
def test_rows_are_one_exactly_where_a_chain_links_them(one: list[str], other: list[str]) -> None:
    def touch(i: int, j: int) -> bool:
        return any(column[i] and column[i] == column[j] for column in (one, other))

    groups = [{i} for i in range(len(one))]
    for _ in range(len(one)):
        groups = [{j for j in range(len(one)) if any(touch(i, j) for i in group)} | group for group in groups]
    # The two columns are different kinds of identifiers: their values must not be taken for each other.
    found = linked([[f"p{v}" if v else "" for v in one], [f"u{v}" if v else "" for v in other]])
    for i in range(len(one)):
        for j in range(len(one)):
            if found[i] and found[j]:
                assert (found[i] == found[j]) == (j in groups[i])
        assert bool(found[i]) == bool(one[i] or other[i])
