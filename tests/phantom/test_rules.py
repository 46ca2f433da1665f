"""Rules of the findings: complete, sourced, and obeyed by what is drawn."""

from __future__ import annotations

import pytest

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.facts import FINDINGS, Finding
from medvlp.phantom.rules import RULES, draw_extent, fractured_ribs, lobes_of, severity_of


def test_every_finding_has_a_rule_with_a_source() -> None:
    assert tuple(RULES) == FINDINGS
    assert all(any(ch.isdigit() for ch in rule.source) for rule in RULES.values())


@pytest.mark.parametrize("name", FINDINGS)
def test_drawn_extents_stay_in_range_and_are_graded_by_their_amount(name: str) -> None:
    rule = RULES[name]
    for position in range(200):
        extent = draw_extent(rule, numpy_generator(0, position, name))
        assert rule.low <= extent.size <= rule.high
        assert 0.0 <= extent.amount <= 1.0
        assert extent.severity == severity_of(rule, extent.amount)
        if rule.size and rule.amount != (1.0, 1.0):
            assert extent.amount == pytest.approx((extent.size - rule.low) / (rule.high - rule.low))


def test_nodule_sizes_have_the_median_of_the_published_films() -> None:
    rule = RULES["nodule"]
    sizes = sorted(draw_extent(rule, numpy_generator(1, i, "nodule")).size for i in range(1000))
    assert 15.5 < sizes[500] < 18.0
    assert sizes[-1] <= 30.0  # what is larger is a mass


def test_only_the_right_lung_has_a_middle_lobe() -> None:
    rule = RULES["consolidation"]
    assert lobes_of(rule, "right") == ("upper", "middle", "lower")
    assert lobes_of(rule, "left") == ("upper", "lower")
    assert lobes_of(rule, "bilateral") == ("upper", "lower")


def test_fractured_ribs_are_neighbours_between_four_and_nine() -> None:
    counts = set()
    for seed in range(200):
        ribs = fractured_ribs(Finding("rib_fracture", "left", "", "", 8.0, 0.3, seed))
        assert ribs == tuple(range(ribs[0], ribs[-1] + 1))
        assert ribs[0] >= 4
        assert ribs[-1] <= 9
        counts.add(len(ribs))
    assert counts == {1, 2, 3}
