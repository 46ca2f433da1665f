"""The benchmark of the default report on two cohorts: planted faults are flagged, a clean cohort is not."""

from __future__ import annotations

import pytest

from tests.benchmarks.default_report import facts, flags, predictions, raised

SEEDS = (1001, 1002)


@pytest.fixture(scope="module")
def cohorts() -> dict[int, object]:
    return {seed: facts(seed) for seed in SEEDS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gap", "temperature", "shortcut"])
def test_a_planted_fault_is_flagged(kind: str, cohorts: dict[int, object]) -> None:
    assert all(raised(kind, flags(predictions(cohorts[seed], kind, seed))) for seed in SEEDS)


@pytest.mark.slow
def test_a_clean_cohort_is_not(cohorts: dict[int, object]) -> None:
    assert not any(raised("clean", flags(predictions(cohorts[seed], "clean", seed))) for seed in SEEDS)
