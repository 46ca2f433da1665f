"""How much more often a map's strongest point lies in the finding than the middle of the picture does.

The two are compared on the same pictures, and a map is worth showing where the interval of their difference lies above
0. The interval is Newcombe's for paired shares (Statistics in Medicine 1998, method 10: the distances of two Wilson
limits, squared and added with their correlation, which is corrected for continuity where it is positive); unlike a
bootstrap it does not vanish where all of few cases agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medvlp.evaluation.metric_row import share_limits
from medvlp.evaluation.results import AVERAGES, Comparison, ConfidenceInterval, Counts, Metric, Result
from medvlp.statistics.bootstrap import Interval
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.proportions import share_of

GAIN = "pointing_game_gain"
CHOICE = "pointing_game_validate"


def paired_shares(first: FloatArray, second: FloatArray, patient: np.ndarray) -> Interval:
    """Return the interval of mean(second) - mean(first), shares of the same rows.

    Args:
        first: (n,) in [0, 1], 1 is a success.
        second: likewise.
        patient: (n,) codes from 0.

    Example:
        >>> twelve = np.arange(12)
        >>> found = paired_shares(np.zeros(12), np.ones(12), twelve)
        >>> round(found.low, 2), found.high
        (0.66, 1.0)
    """
    (value, low, high), (other, least, most) = (share_limits(share_of(each, patient)) for each in (second, first))
    spread = float(first.std() * second.std())
    together = float(np.mean((first - first.mean()) * (second - second.mean())))
    if together > 0:
        together = max(together - 1 / (2 * len(first)), 0.0)
    alike = 0.0 if spread == 0 else together / spread

    def reach(mine: float, theirs: float) -> float:
        return float(np.sqrt(max(mine**2 - 2 * alike * mine * theirs + theirs**2, 0.0)))

    difference = value - other
    return Interval(
        max(difference - reach(value - low, most - other), -1.0),
        min(difference + reach(high - value, other - least), 1.0),
        0,
        0,
    )


def gain_rows(drawn: pd.DataFrame, centre: pd.DataFrame, *, split: str) -> list[Metric]:
    """Return a row a finding: pointing game of a map (`second`) less that of the middle (`first`).

    Args:
        drawn: `measure_cases` of the map.
        centre: of the middle, of the same cases.
        split: written into the rows.
    """
    both = drawn[["id", "patient_id", "finding", "present", "pointing_game"]].merge(
        centre[["id", "finding", "pointing_game"]], on=["id", "finding"], suffixes=("", "_centre")
    )
    rows = []
    for finding, some in both[both["present"]].groupby("finding"):
        people, names = pd.factorize(some["patient_id"])
        first, second = (some[name].to_numpy(np.float64) for name in ("pointing_game_centre", "pointing_game"))
        found = paired_shares(first, second, people)
        rows.append(
            Metric(
                metric=GAIN,
                label=str(finding),
                value=float(second.mean() - first.mean()),
                split=split,
                policy="none",
                interval=ConfidenceInterval(
                    low=found.low,
                    high=found.high,
                    method="wilson_clustered" if len(names) < len(some) else "wilson",
                    form="square_and_add",
                ),
                counts=Counts(n=len(some), positives=len(some), patients=len(names)),
                test=Comparison(first=float(first.mean()), second=float(second.mean())),
            )
        )
    return rows


def map_evidence(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Return answer -> what a bundle keeps of the maps that were measured: options, hit rates, which is whose default.

    A finding's default, in ``best``, is the method with the highest pointing game on its validation pictures;
    ``default``, for what has none, that of the highest mean over findings; the first of several alike, and where
    nothing was chosen. The numbers are those of the judged pictures: finding -> method -> hit rate with interval, that
    of the middle of the picture, and their difference with its own.
    """
    found: dict[str, dict[str, Any]] = {}
    highest: dict[tuple[str, str], float] = {}
    for result in results:
        spec: Mapping[str, Any] = result.fitted.get("map", {})
        if not spec:
            continue
        answer, method = str(spec["answer"]), str(spec["method"])
        data = {"hash": result.data, "recipe": result.recipe, "synthetic": result.synthetic}
        entry = found.setdefault(answer, {"default": method, "best": {}, "data": data, "methods": {}, "hits": {}})
        entry["methods"][method] = spec["component"]
        for row in result.metrics:
            if row.metric == CHOICE and row.value is not None and row.value > highest.get((answer, row.label), -1.0):
                highest[answer, row.label] = row.value
                if row.label in AVERAGES:
                    entry["default"] = method
                else:
                    entry["best"][row.label] = method
            if row.metric == GAIN and row.label not in AVERAGES:
                own = result.find("pointing_game", row.label)
                entry["hits"].setdefault(row.label, {})[method] = {
                    "value": own.value,
                    "low": own.interval.low,
                    "high": own.interval.high,
                    "n": row.counts.n,
                    "centre": row.test.first,
                    "gain": row.value,
                    "gain_low": row.interval.low,
                    "gain_high": row.interval.high,
                }
    return found
