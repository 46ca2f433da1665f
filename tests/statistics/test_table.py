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


def first_level(rows: Levels) -> float:
    """Share of positives among the rows of the highest score that a positive has, or above."""
    return float(rows.hit[0] / rows.called[0])


def first_level_moves(rows: Moves) -> np.ndarray:
    at = int(np.flatnonzero(rows.positive)[0])
    hit, called = rows.positive[at], (rows.positive + rows.negative)[: at + 1].sum()
    return np.where(rows.place <= at, (rows.labels - hit / called) / called, 0.0)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = RankMetric(first_level, first_level_moves, lambda prevalence: prevalence)
    monkeypatch.setitem(METRICS, "first_precision", MetricKind(words="precision of the first", rank=rank))
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
    result = evaluate_scores(table, seed=0, recipe="", data="", resamples=50, interval=form)  # type: ignore[arg-type]
    row = result.find("first_precision", "a", split="test")
    test = table[table["split"] == "test"]
    top = test[test["score:a"] >= test.loc[test["label:a"] == 1, "score:a"].max()]
    assert row.value == pytest.approx(top["label:a"].mean())
    assert row.chance == pytest.approx(test["label:a"].mean())
    assert row.interval.low is not None
    assert row.interval.low <= row.value <= row.interval.high  # type: ignore[operator]
    made = redraw(result, row)
    assert made is not None
    assert made.value == row.value
    assert name_of("first_precision") == "precision of the first"


@pytest.mark.usefixtures("added")
def test_metrics_of_rankings_and_of_calls_are_compared() -> None:
    options = ScoreOptions(resamples=20, points=("youden",))
    one, other = (score_predictions(_table(seed), options=options) for seed in (1, 2))
    compared = compare_results(one, other, resamples=20)
    for metric, point in (("first_precision", None), ("youden", "youden")):
        values = [each.find(metric, "a", split="test", operating_point=point).value for each in (one, other)]
        row = compared.find(f"{metric}_difference", "a", operating_point=point)
        assert row.value == pytest.approx(values[1] - values[0])  # type: ignore[operator]
    point = one.find("youden", "a", split="test", operating_point="youden")
    parts = [
        one.find(name, "a", split="test", operating_point="youden").value for name in ("sensitivity", "specificity")
    ]
    assert point.value == pytest.approx(sum(parts) - 1)  # type: ignore[arg-type]
