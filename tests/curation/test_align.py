"""ALIGN's filters: each limit by its reason, a common text capped exactly, and nothing that depends on order."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pytest

from medvlp.curation.align import Align

NORMAL = "No acute cardiopulmonary process."


def record(name: str, text: str = "A small left effusion.", **more: Any) -> dict[str, object]:
    return {"id": name, "text": text, **more}


def reasons(rule: Align, pool: list[dict[str, object]]) -> dict[str, str]:
    counts = rule.measure(pool)
    assert counts is not None
    return {str(r["id"]): rule.apply(r, counts).reason for r in pool}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (record("a", width=199, height=400), "small"),
        (record("a", width=200, height=601), "narrow"),
        (record("a", width=200, height=600), ""),
        (record("a", width="199", height="400.0"), "small"),  # text, as where another row says n/a
        (record("a", width="n/a", height="400"), ""),
        (record("a", "Left effusion."), "short"),
        (record("a", "word " * 21), "long"),
        (record("a", "word " * 20), ""),
        (record("a"), ""),
    ],
)
def test_each_limit_has_its_reason(one: dict[str, object], reason: str) -> None:
    assert reasons(Align(max_words=20), [one]) == {"a": reason}


def test_how_long_a_picture_may_be_for_its_width_is_a_ratio_whichever_side_is_longer() -> None:
    for sides, narrow in (((200, 300), False), ((300, 200), False), ((200, 301), True), ((301, 200), True)):
        one = record("a", width=sides[0], height=sides[1])
        assert reasons(Align(max_aspect=1.5), [one]) == {"a": "narrow" if narrow else ""}


def test_a_common_text_is_capped_exactly_or_dropped() -> None:
    pool = [record(f"n{i}", NORMAL if i % 2 else NORMAL.upper()) for i in range(40)] + [record("x")]
    capped = reasons(Align(max_shared=7), pool)
    assert Counter(capped.values()) == {"common_text": 33, "": 8}
    assert Counter(reasons(Align(max_shared=7, shared="drop"), pool).values()) == {"common_text": 40, "": 1}
    assert capped != reasons(Align(max_shared=7, seed=1), pool)
    assert set(reasons(Align(max_shared=40, shared="drop"), pool).values()) == {""}


def test_an_image_of_many_texts_and_a_word_of_few_records() -> None:
    pool = [record(f"a{i}", f"Text number {i} of one.", image="one.png") for i in range(3)]
    assert set(reasons(Align(max_texts=2), pool).values()) == {"busy_image"}
    assert set(reasons(Align(max_texts=3), pool).values()) == {""}
    pool = [record("a", "the left lung"), record("b", "the left lung"), record("c", "the left lnug")]
    assert reasons(Align(min_count=2), pool) == {"a": "", "b": "", "c": "rare_words"}
    assert reasons(Align(min_count=2), [record("a", "lung lung lung lung")]) == {"a": "rare_words"}  # of one record


def test_order_of_the_pool_and_a_second_pass_with_the_same_counts_change_nothing() -> None:
    pool = [record(name, NORMAL) for name in "abc"] + [record("d", "word"), record("e", image="e.png")]
    rule = Align(max_shared=1)
    first = reasons(rule, pool)
    for order in permutations(pool):
        assert reasons(rule, list(order)) == first
    counts = rule.measure(pool)
    assert counts is not None
    left = [r for r in pool if not first[str(r["id"])]]
    assert all(not rule.apply(r, counts).reason for r in left)
    parts = None
    for r in pool:
        parts = rule.add(parts, rule.count(r))
    assert parts is not None
    assert {str(r["id"]): rule.apply(r, parts).reason for r in pool} == first
