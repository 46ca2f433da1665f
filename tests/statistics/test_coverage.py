"""Nominal 95 % intervals hold the truth about that often; 200 simulations of the command that draws the table."""

from __future__ import annotations

import pytest

from tests.benchmarks.interval_coverage import REGIMES, coverage

# The standard error of a share of 200 near 0.95 is 1.5 %: bounds are three of them away.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("regime", "least"), [("many", 90.0), ("few", 86.5)])
def test_patient_intervals_cover_and_image_intervals_do_not(regime: str, least: float) -> None:
    table = coverage(REGIMES[regime], simulations=200, resamples=200, seed=7)
    share = {name: percent for name, (percent, _) in table.items()}
    for form in ("percentile", "bca", "logit", "delong, clustered"):
        assert least <= share[f"auroc: {form}"] <= 99.5
    for metric in ("average_precision", "f1", "mcc", "brier"):
        assert least <= share[f"{metric}: logit"] <= 99.5
    for metric in ("sensitivity", "specificity"):
        assert least <= share[f"{metric}: wilson, clustered"] <= 99.5
        assert share[f"{metric}: clopper_pearson, clustered"] >= share[f"{metric}: wilson, clustered"]
    assert share["auroc: percentile, images resampled"] <= 85
    assert share["auroc: delong, images"] <= 85
