"""The table of metrics: a metric is one entry, and whatever ranks, calls, bootstraps, compares or shows reads it here.

An entry with `rank` is computed of every finding from its ranking, with intervals, averages, groups and paired
differences; one with `calls` likewise at every operating point. Entries without either are computed elsewhere and have
their words here.

Example:
    >>> METRICS["ppv"].words, METRICS["brier"].better, [*rank_metrics()]
    ('PPV', 'lower', ['auroc', 'average_precision'])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Places = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Levels:
    """Rows of both classes, weighted in B ways, at the G distinct scores that a positive has, highest first.

    Attributes:
        gained: ``(B, G)`` positive rows at each level.
        hit: ``(B, G)`` positive rows at the level or above.
        called: ``(B, G)`` rows at the level or above.
        false: ``(B, G)`` negative rows at the level or above, those above once more.
        positives, negatives: ``(B,)`` their sums; what is returned where one is 0 does not count.
    """

    gained: FloatArray
    hit: Places
    called: Places
    false: Places
    positives: Places
    negatives: Places


@dataclass(frozen=True, slots=True)
class Moves:
    """Rows of equal weight at their L distinct scores, highest first: what derivatives in the weights are made of.

    Attributes:
        labels: ``(n,)`` booleans of both classes.
        place: ``(n,)`` level of each row.
        positive, negative: ``(L,)`` rows of each class at a level.
    """

    labels: NDArray[np.bool_]
    place: Places
    positive: FloatArray
    negative: FloatArray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts (or weights), all of one shape: true and false positives, false and true negatives."""

    tp: FloatArray
    fp: FloatArray
    fn: FloatArray
    tn: FloatArray

    def metric(self, name: str) -> FloatArray:
        """Return a metric of every table, NaN where it is not defined.

        Example:
            >>> table = Confusion(*(np.array(count) for count in (8.0, 1.0, 2.0, 9.0)))
            >>> float(table.metric("sensitivity")), round(float(table.metric("mcc")), 4)
            (0.8, 0.7035)
        """
        return call_metrics()[name](self)

    def pooled(self) -> Confusion:
        """Return the sums over the first axis: the table of all labels together."""
        return Confusion(self.tp.sum(axis=0), self.fp.sum(axis=0), self.fn.sum(axis=0), self.tn.sum(axis=0))


@dataclass(frozen=True, slots=True)
class RankMetric:
    """A number of a ranking.

    Attributes:
        value: of each of B weightings, ``(B,)``.
        influence: derivative in the weight of each row at equal weights, ``(n,)``.
        chance: prevalence -> what a random ranking is expected to reach.
        exact: where a score divides the classes, Clopper and Pearson's limit holds for it (see `without_spread`).
    """

    value: Callable[[Levels], FloatArray]
    influence: Callable[[Moves], FloatArray]
    chance: Callable[[float], float]
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricKind:
    """One metric of the table: name, direction, range, words.

    Attributes:
        words: what a page calls it; by default its name.
        better: which way; None where neither is.
        rank: how it is computed of a ranking.
        calls: how it is computed of calls at a threshold.
        signed: it lies in [-1, 1], not in [0, 1]: its logit interval is that of (1 + value) / 2.
    """

    words: str = ""
    better: Literal["higher", "lower"] | None = "higher"
    rank: RankMetric | None = None
    calls: Callable[[Confusion], FloatArray] | None = None
    signed: bool = False


def rank_metrics() -> dict[str, RankMetric]:
    """Return the metrics of rankings by name, in the order of the table."""
    return {name: kind.rank for name, kind in METRICS.items() if kind.rank is not None}


def call_metrics() -> dict[str, Callable[[Confusion], FloatArray]]:
    """Return the metrics of calls by name, in the order of the table."""
    return {name: kind.calls for name, kind in METRICS.items() if kind.calls is not None}


def _auroc(rows: Levels) -> FloatArray:
    """Return ``sum_g p_g (N - (FP_g + FP_before_g) / 2) / (P N)``."""
    below = rows.negatives[:, None] - 0.5 * rows.false
    return np.einsum("bg,bg->b", rows.gained, below) / (rows.positives * rows.negatives)


def _average_precision(rows: Levels) -> FloatArray:
    """Return ``sum_g (p_g / P) TP_g / (TP_g + FP_g)``; a level that no resampled row reaches adds nothing."""
    return np.einsum("bg,bg->b", rows.gained, rows.hit / np.maximum(rows.called, 1)) / rows.positives


def _auroc_moves(rows: Moves) -> FloatArray:
    """A positive's share of negatives that it beats, a negative's share of positives that beat it, centred."""
    positives, negatives = rows.positive.sum(), rows.negative.sum()
    beaten = (negatives - np.cumsum(rows.negative) + 0.5 * rows.negative) / negatives
    beats = (np.cumsum(rows.positive) - 0.5 * rows.positive) / positives
    area = float(rows.positive @ beaten) / positives
    place = rows.place
    return np.where(rows.labels, (beaten[place] - area) / positives, (beats[place] - area) / negatives)


def _average_precision_moves(rows: Moves) -> FloatArray:
    """A row adds to TP (and) to the number called at every level from its own downwards."""
    positive, hit = rows.positive, np.cumsum(rows.positive)
    called, positives = hit + np.cumsum(rows.negative), rows.positive.sum()
    precision = hit / called
    value = float(positive @ precision) / positives
    below = np.cumsum((positive * (1 - precision) / called)[::-1])[::-1]
    lost = np.cumsum((positive * precision / called)[::-1])[::-1]
    return np.where(rows.labels, (precision + below)[rows.place] - value, -lost[rows.place]) / positives


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def _mcc(t: Confusion) -> FloatArray:
    # Roots first: the product of four counts leaves the range in which whole numbers are exact.
    scale = np.sqrt(t.tp + t.fp) * np.sqrt(t.tp + t.fn) * np.sqrt(t.tn + t.fp) * np.sqrt(t.tn + t.fn)
    value = _share(t.tp * t.tn - t.fp * t.fn, scale)
    # Calls that are all right are 1 exactly, whatever the roots round to.
    return np.where(np.abs(value) > 1 - 1e-12, np.sign(value), value)


METRICS: dict[str, MetricKind] = {
    "auroc": MetricKind(words="AUROC", rank=RankMetric(_auroc, _auroc_moves, lambda prevalence: 0.5, exact=True)),
    "average_precision": MetricKind(
        words="AP", rank=RankMetric(_average_precision, _average_precision_moves, lambda prevalence: prevalence)
    ),
    "sensitivity": MetricKind(calls=lambda t: _share(t.tp, t.tp + t.fn)),
    "specificity": MetricKind(calls=lambda t: _share(t.tn, t.tn + t.fp)),
    "ppv": MetricKind(words="PPV", calls=lambda t: _share(t.tp, t.tp + t.fp)),
    "npv": MetricKind(words="NPV", calls=lambda t: _share(t.tn, t.tn + t.fn)),
    "f1": MetricKind(words="F1", calls=lambda t: _share(2 * t.tp, 2 * t.tp + t.fp + t.fn)),
    "mcc": MetricKind(words="MCC", calls=_mcc, signed=True),
    "accuracy": MetricKind(calls=lambda t: _share(t.tp + t.tn, t.tp + t.fp + t.fn + t.tn)),
    "balanced_accuracy": MetricKind(calls=lambda t: (_share(t.tp, t.tp + t.fn) + _share(t.tn, t.tn + t.fp)) / 2),
    "rouge_l": MetricKind(words="ROUGE-L"),
    "brier": MetricKind(words="Brier score", better="lower"),
    "log_loss": MetricKind(better="lower"),
    "ece": MetricKind(words="calibration error", better="lower"),
    "smooth_ece": MetricKind(words="smooth error", better="lower"),
    "calibration_slope": MetricKind(words="slope", better=None),
    "calibration_intercept": MetricKind(words="intercept", better=None),
    "auroc_gap": MetricKind(words="AUROC gap", better=None),
    "shortcut_auroc": MetricKind(words="shortcut AUROC", better=None),
    "median_rank": MetricKind(words="median rank", better="lower"),
    "mean_rank": MetricKind(words="mean rank", better="lower"),
    "modality_gap": MetricKind(words="modality gap", better=None),
    "alignment": MetricKind(better=None),
    "uniformity": MetricKind(better=None),
    "conformal_coverage": MetricKind(words="coverage", better=None),
    "conformal_coverage_positive": MetricKind(words="of present", better=None),
    "conformal_coverage_negative": MetricKind(words="of absent", better=None),
    "selective_accuracy": MetricKind(words="accuracy of answers"),
    "attack_success": MetricKind(words="attack success", better="lower"),
    "shape_share": MetricKind(words="share decided by form", better=None),
    "adjusted_rand": MetricKind(words="adjusted Rand index", better=None),
    "nearest": MetricKind(words="nearest is the same patient's", better=None),
    "gate_held_back": MetricKind(words="held back by the gate", better=None),
    **dict.fromkeys(
        (
            *("false_alarm", "false_supported", "true_contradicted", "side_error", "measurement_error"),
            *("invented_measurement", "prior_hallucination", "brier_miscalibration", "auroc_range"),
            *("conformal_set_size", "map_of_random_weights", "map_between_images", "map_between_findings"),
        ),
        MetricKind(better="lower"),
    ),
}
