"""How much more often a map hits than the middle of the picture: its interval, and what a bundle keeps of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.grounding.gain import CHOICE, GAIN, gain_rows, map_evidence, paired_shares
from medvlp.evaluation.results import Comparison, ConfidenceInterval, Counts, Metric, Result


@pytest.mark.parametrize(
    ("n", "middle", "up", "down", "most"),
    [(40, 0.2, 0.5, 0.3, 0.99), (25, 0.9, 0.6, 0.05, 0.995), (60, 0.05, 0.1, 0.2, 0.99)],
)
def test_the_interval_holds_the_difference_as_often_as_it_says(
    n: int, middle: float, up: float, down: float, most: float
) -> None:
    """Pairs that are alike: where the middle misses the map hits with `up`, elsewhere it misses with `down`.

    Of few pairs that are very alike the correction for continuity leaves a wide interval, which holds more.
    """
    draws = np.random.default_rng(n)
    truth = (1 - middle) * up - middle * down
    held = 0
    for _ in range(2000):
        first = draws.random(n) < middle
        second = np.where(first, draws.random(n) >= down, draws.random(n) < up)
        found = paired_shares(first.astype(float), second.astype(float), np.arange(n))
        held += found.low <= truth <= found.high
    assert 0.93 <= held / 2000 <= most


@pytest.mark.parametrize(("cells", "low"), [((1, 3, 0, 6), -0.0697), ((21, 4, 0, 5), -0.0079)])
def test_the_correlation_is_corrected_for_continuity(cells: tuple[int, int, int, int], low: float) -> None:
    """Newcombe's method 10 of pairs where both hit, the map alone, the middle alone, neither; method 8 is above 0."""
    middle, drawn = np.repeat([1.0, 0.0, 1.0, 0.0], cells), np.repeat([1.0, 1.0, 0.0, 0.0], cells)
    assert paired_shares(middle, drawn, np.arange(sum(cells))).low == pytest.approx(low, abs=1e-4)


def test_a_gain_is_the_mean_of_paired_differences_and_patients_with_several_pictures_widen_it() -> None:
    ids = [f"i{k}" for k in range(12)]
    drawn = pd.DataFrame({"id": ids, "patient_id": ids, "finding": "mass", "present": [True] * 10 + [False] * 2})
    drawn["pointing_game"] = [1.0] * 8 + [0.0] * 2 + [np.nan] * 2
    centre = drawn.assign(pointing_game=[1.0] * 2 + [0.0] * 8 + [np.nan] * 2)
    (row,) = gain_rows(drawn, centre.sample(frac=1, random_state=0), split="test")
    assert (row.metric, row.label, row.counts.n) == (GAIN, "mass", 10)
    assert (row.test.first, row.test.second, row.value) == (pytest.approx(0.2), pytest.approx(0.8), pytest.approx(0.6))
    assert 0 < row.interval.low < 0.6 < row.interval.high <= 1
    people = [f"p{k // 5}" for k in range(12)]
    (wide,) = gain_rows(drawn.assign(patient_id=people), centre, split="test")
    assert wide.value == row.value
    assert wide.interval.low < row.interval.low


def test_the_default_is_the_best_on_validation_whatever_the_judged_pictures_say() -> None:
    def result(method: str, chosen: float, hit: float) -> Result:
        facts = {"counts": Counts(n=40, patients=40), "split": "test"}
        rows = [
            Metric(
                metric="pointing_game",
                label="mass",
                value=hit,
                **facts,
                interval=ConfidenceInterval(low=hit - 0.1, high=hit + 0.1),
            ),
            Metric(
                metric=GAIN,
                label="mass",
                value=hit - 0.2,
                **facts,
                interval=ConfidenceInterval(low=hit - 0.4, high=hit),
                test=Comparison(first=0.2, second=hit),
            ),
            Metric(metric=CHOICE, label="macro", value=chosen, split="validate", counts=Counts(n=40, patients=40)),
            Metric(metric=CHOICE, label="mass", value=1 - chosen, split="validate", counts=Counts(n=20, patients=20)),
        ]
        kept = {"answer": "it", "method": method, "component": {"name": method}}
        return Result(name=f"grounding_{method}", data="d", metrics=tuple(rows), fitted={"map": kept})

    found = map_evidence([result("hires_cam", 0.4, 0.9), result("occlusion", 0.6, 0.5)])["it"]
    assert (found["default"], found["best"]) == ("occlusion", {"mass": "hires_cam"})
    assert set(found["methods"]) == {"hires_cam", "occlusion"}
    kept = found["hits"]["mass"]["occlusion"]
    assert (kept["value"], kept["centre"], kept["gain_low"], kept["n"]) == (0.5, 0.2, pytest.approx(0.1), 40)
    assert map_evidence([Result(name="grounding_centre", metrics=())]) == {}
