"""Every configuration of a single method says at its head what the page of methods shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_results import ROOT, load

SHIPPED = [
    path
    for path in sorted((ROOT / "configs" / "compare").glob("*.yaml"))
    if path.stem != "phantom" and "\nbase: budget.yaml\n" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_method_says_what_it_adds_when_it_helps_what_it_costs_and_what_its_paper_claims(path: Path) -> None:
    reference = load(ROOT / "docs" / "_make" / "reference.py")
    first, facts = reference.method_facts(path.read_text(encoding="utf-8"))
    name, found, adds = first.partition(": ")
    assert found
    assert 3 <= len(name) <= 60
    assert adds.endswith(".")
    assert set(facts) == set(reference.METHOD_FACTS)
    assert all(20 <= len(said) <= 700 for said in facts.values())
