"""A metric is one entry of the table: added from outside, it is computed, resampled, compared and named everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.redraw import redraw
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.words import name_of
from medvlp.statistics.table import METRICS, Confusion, Levels, MetricKind, Moves, RankMetric


def halved(rows: Levels) -> np.ndarray:
    """Share of (positive, negative) pairs that are ranked right, ties counting nothing."""
    below = rows.negatives[:, None] - (rows.called - rows.hit)  # negatives below each level of a positive
    return (rows.gained * below).sum(axis=1) / (rows.positives * rows.negatives)


def halved_moves(rows: Moves) -> np.ndarray:
    positives, negatives = rows.positive.sum(), rows.negative.sum()
    beaten = (negatives - np.cumsum(rows.negative)) / negatives
    beats = (np.cumsum(rows.positive) - rows.positive) / positives
    value = float(rows.positive @ beaten) / positives
    return np.where(rows.labels, (beaten[rows.place] - value) / positives, (beats[rows.place] - value) / negatives)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = RankMetric(halved, halved_moves, lambda prevalence: 0.5)
    monkeypatch.setitem(METRICS, "pairs_right", MetricKind(words="pairs ranked right", rank=rank))
    monkeypatch.setitem(METRICS, "youden", MetricKind(calls=youden, signed=True))


def youden(table: Confusion) -> np.ndarray:
    return table.metric("sensitivity") + table.metric("specificity") - 1


def _table(seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    truth = np.tile([1, 0, 0], 40)
    scores = np.round(truth + np.random.default_rng(3).normal(size=120) + 0.1 * generator.normal(size=120), 1)
    people = [f"p{at // 2}" for at in range(120)]
    split = np.where(np.arange(120) < 60, "validate", "test")
    return pd.DataFrame({"id": range(120), "patient_id": people, "split": split, "label:a": truth, "score:a": scores})


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("form", ["percentile", "bca"])
def test_a_metric_of_rankings_is_made_with_intervals_and_made_again(form: str) -> None:
    table = _table(0)
    result = evaluate_scores(table, seed=0, resamples=50, interval=form)  # type: ignore[arg-type]
    row = result.find("pairs_right", "a", split="test")
    test = table[table["split"] == "test"]
    high, low = (test.loc[test["label:a"] == label, "score:a"].to_numpy() for label in (1, 0))
    assert row.value == pytest.approx((high[:, None] > low[None, :]).mean())
    assert row.chance == 0.5
    assert row.interval.low is not None
    assert row.interval.low <= row.value <= row.interval.high  # type: ignore[operator]
    made = redraw(result, row)
    assert made is not None
    assert made.draw(np.ones((made.clusters.patients, 1)))[0] == pytest.approx(row.value)
    assert name_of("pairs_right") == "pairs ranked right"


@pytest.mark.usefixtures("added")
def test_metrics_of_rankings_and_of_calls_are_compared() -> None:
    options = ScoreOptions(resamples=20, points=("youden",))
    one, other = (score_predictions(_table(seed), options=options) for seed in (1, 2))
    compared = compare_results(one, other, resamples=20)
    for metric, point in (("pairs_right", None), ("youden", "youden")):
        values = [each.find(metric, "a", split="test", operating_point=point).value for each in (one, other)]
        row = compared.find(f"{metric}_difference", "a", operating_point=point)
        assert row.value == pytest.approx(values[1] - values[0])  # type: ignore[operator]
    point = one.find("youden", "a", split="test", operating_point="youden")
    parts = [
        one.find(name, "a", split="test", operating_point="youden").value for name in ("sensitivity", "specificity")
    ]
    assert point.value == pytest.approx(sum(parts) - 1)  # type: ignore[arg-type]
