"""MetaCLIP's balance: tails whole, heads capped, negation no match, the same in any order and in parts."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.curation.metaclip import Metaclip, limit_of


def pool(size: int = 4000) -> list[dict[str, object]]:
    """Texts of one to three of sixty made-up terms, the k-th of frequency 1 / k, and some of none."""
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, 61)
    records: list[dict[str, object]] = []
    for i in range(size):
        chosen = draw.choice(60, size=draw.integers(0, 4), p=share / share.sum())
        records.append({"id": f"r{i}", "text": " ".join(f"there is zq{k}x." for k in chosen)})
    return records


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> Metaclip:
    file = tmp_path_factory.mktemp("terms") / "terms.txt"
    file.write_text("".join(f"zq{k}x\n" for k in range(60)), encoding="utf-8")
    return Metaclip(cap=50, terms=file)


def test_every_record_of_a_rare_term_stays_and_as_many_others_as_the_closed_form_says(rule: Metaclip) -> None:
    records = pool()
    counts = rule.measure(records)
    assert counts is not None
    matched = [rule.matched(str(record["text"])) for record in records]
    assert counts == Counter(term for own in matched for term in own)
    stays = [not rule.apply(record, counts).reason for record in records]
    for own, stay in zip(matched, stays, strict=True):
        if any(counts[term] <= 50 for term in own):
            assert stay
        if not own:
            assert not stay
    chances = [1 - math.prod(1 - 50 / max(counts[term], 50) for term in own) for own in matched]
    expected, spread = sum(chances), math.sqrt(sum(p * (1 - p) for p in chances))
    assert abs(sum(stays) - expected) < 4 * spread
    kept = Counter(term for own, stay in zip(matched, stays, strict=True) if stay for term in own)

    def entropy(of: Counter[str]) -> float:
        total = sum(of.values())
        return -sum(n / total * math.log(n / total) for n in of.values())

    assert entropy(kept) > entropy(counts) + 0.2


def test_order_and_parts_of_the_pool_change_nothing(rule: Metaclip) -> None:
    records = pool(600)
    counts = rule.measure(records)
    parts = [rule.measure(records[start::3]) for start in range(3)]
    total = None
    for part in parts:
        assert part is not None
        total = rule.add(total, part)
    assert total == counts
    assert counts is not None
    one = {str(r["id"]): rule.apply(r, counts).reason for r in records}
    other = {str(r["id"]): rule.apply(r, counts).reason for r in reversed(records)}
    assert one == other


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_the_limit_by_the_tail_is_the_count_whose_share_of_all_matches_is_nearest(counts: list[int], tail: float):
    ordered, total = sorted(counts), sum(counts)
    apart = [abs(sum(ordered[: i + 1]) - tail * total) for i in range(len(ordered))]
    limit = limit_of(Counter({str(i): c for i, c in enumerate(counts)}), tail)
    assert limit in {c for c, each in zip(ordered, apart, strict=True) if each <= min(apart) + 1e-9}
    for i in range(len(ordered)):  # the share of a term's tail gives that term's count back
        share = sum(ordered[: i + 1]) / (total + 1)
        near = min(range(len(ordered)), key=lambda k: abs(sum(ordered[: k + 1]) - share * total))
        assert limit_of(Counter({str(k): c for k, c in enumerate(ordered)}), share) == ordered[near]


def test_a_pool_three_times_as_large_is_balanced_alike_by_its_tail_and_not_by_its_cap(rule: Metaclip) -> None:
    """All counts are three times as high, and so is the limit: each term is drawn with the chance of before."""
    records = pool(1500)
    larger = [{**record, "id": f"{record['id']}{copy}"} for record in records for copy in "abc"]
    stays = {}
    for name, each in (("tail", Metaclip(terms=rule.file, tail=0.3)), ("cap", Metaclip(terms=rule.file, cap=60))):
        for size, some in ((1, records), (3, larger)):
            counts = each.measure(some)
            assert counts is not None
            stays[name, size] = sum(not each.apply(record, counts).reason for record in some) / len(some)
    assert stays["tail", 3] == pytest.approx(stays["tail", 1], abs=0.03)
    assert stays["cap", 3] < stays["cap", 1] - 0.1


def test_counts_that_grow_have_a_new_limit(rule: Metaclip) -> None:
    each, fresh = (Metaclip(terms=rule.file, tail=0.3) for _ in range(2))
    counts = each.measure(pool(300))
    assert counts is not None
    each.apply(pool(1)[0] | {"text": "zq0x"}, counts)
    counts = each.add(counts, counts.copy())
    for record in pool(300):
        assert each.apply(record, counts) == fresh.apply(record, counts)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("No pneumothorax.", set()),
        ("Possible pneumothorax.", set()),
        ("Small left effusion. No pneumothorax.", {"effusion"}),
        ("There is no effusion, but a rib fracture.", {"rib_fracture"}),
    ],
)
def test_what_is_denied_or_doubtful_is_no_match(text: str, stated: set[str]) -> None:
    assert Metaclip().matched(text) == stated


def test_any_occurrence_counts_where_that_is_asked_for() -> None:
    assert Metaclip(stated=False).matched("No pneumothorax.") == {"pneumothorax"}


def test_records_without_a_term_go_or_stay_as_asked(tmp_path: Path) -> None:
    record = {"id": "a", "text": "As discussed."}
    assert Metaclip().apply(record, Counter()).reason == "no_term"
    assert Metaclip(without=True).apply(record, Counter()).reason == ""
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="has no term"):
        Metaclip(terms=tmp_path / "empty.txt").matched("x")
    with pytest.raises(ConfigError, match="is no file"):
        Metaclip(terms=tmp_path / "nowhere.txt").matched("x")


def test_terms_of_a_file_are_found_within_and_across_others_and_with_their_marks(tmp_path: Path) -> None:
    """As of substrings: a longer term takes no occurrence from a shorter one; what is denied is so for both."""
    file = tmp_path / "terms.txt"
    file.write_text("effusion\nleft effusion\nchest x\nx-ray\nV/Q scan\n", encoding="utf-8")
    every, stated = Metaclip(terms=file, stated=False), Metaclip(terms=file)
    assert every.matched("No left effusion on chest x-ray.") == {"effusion", "left effusion", "chest x", "x-ray"}
    assert stated.matched("No left effusion on chest x-ray.") & {"effusion", "left effusion"} == set()
    assert stated.matched("Left effusion.") == {"effusion", "left effusion"}
    assert every.matched("A V/Q scan was done.") == {"V/Q scan"}
