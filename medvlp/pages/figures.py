"""Figures of the page: ROC and precision-recall curves, learning curves, and pictures as data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from medvlp.evaluation import words
from medvlp.evaluation.predictions import check_policy, known_rows
from medvlp.evaluation.results import Result
from medvlp.evaluation.rows import judged_split, metric_rows, released_map
from medvlp.evaluation.words import finding
from medvlp.features.drawing import heat_map_layer, png_uri
from medvlp.pages.charts import Series, curve_chart, series_chart
from medvlp.pages.inputs import CHOSEN, Box, GalleryItem
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.curves import rank_curves
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.metrics import UndefinedMetricError


@dataclass(frozen=True, slots=True)
class CurveFigure:
    """A finding's chart with its caption."""

    name: str
    caption: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Picture:
    """A gallery item with its picture and heat map as data URIs.

    Attributes:
        item: the item.
        uri: of the picture.
        heat_uri: of the heat map's layer.
        width, height: of the picture.
        labels: words of each box, where they fit; None for a box without words.
        probability: calibrated, of the score; None where there is none.
        calibration: map that made it, in words.
    """

    item: GalleryItem
    uri: str
    heat_uri: str | None
    width: int
    height: int
    labels: tuple[Label | None, ...] = ()
    probability: float | None = None
    calibration: str = ""


def curves(result: Result, *, resamples: int, seed: int) -> tuple[list[CurveFigure], list[CurveFigure]]:
    """Draw ROC and precision-recall of every finding from the per-case table; none without it.

    Uncertain labels count as the result's own policy says, so a curve is of the cases that its caption's number is of.
    """
    roc: list[CurveFigure] = []
    precision_recall: list[CurveFigure] = []
    if result.cases is None:
        return roc, precision_recall
    split = judged_split(result.metrics)
    rows = {row.label: (row, precision) for row, precision in metric_rows(result) if row.split == split}
    table = result.cases if "split" not in result.cases else result.cases[result.cases["split"].astype(str) == split]
    policy = check_policy(str(result.options.get("policy", "u_ignore")))
    for at, (label, (row, precision)) in enumerate(rows.items()):
        if label == "macro" or row.value is None or f"score:{label}" not in table:
            continue
        rows_known = known_rows(table, label, policy=policy)
        known = rows_known.known
        labels, scores = rows_known.positive[known], rows_known.scores[known]
        clusters = patient_clusters(table.loc[known, "patient_id"].astype(str), labels)
        try:
            draws = 1 if row.reason in TOO_FEW else resamples  # of one there is no band, as there is no interval
            both = rank_curves(labels, scores, clusters, resamples=draws, seed=seed, level=row.interval.level)
        except UndefinedMetricError:
            continue
        prevalence = float(np.mean(labels))
        name = words.finding(label)
        chart = curve_chart(both.roc, kind="roc", chance=prevalence, key=f"roc-{at}")
        roc.append(CurveFigure(name, f"AUROC {words.number(row.value)}", Markup(chart)))
        chart = curve_chart(both.precision_recall, kind="pr", chance=prevalence, key=f"pr-{at}")
        value = words.number(precision.value if precision is not None else None)
        precision_recall.append(CurveFigure(name, f"AP {value}", Markup(chart)))
    return roc, precision_recall


def learning_curves(log: Sequence[Mapping[str, object]]) -> tuple[Markup | None, Markup | None]:
    """Draw losses of training rows, and metrics of validation rows, over samples seen; None where there are none.

    A macro average stands out before the findings that it is made of, as does what is of no finding.
    """
    training = _lines([row for row in log if row.get("kind", "train") == "train"])
    losses = [line for line in training if line.name == "loss" or "/" in line.name]
    # With one objective its term is the loss: one line is enough.
    losses = [line for at, line in enumerate(losses) if not any(_same(line, other) for other in losses[:at])]
    metrics = _lines([row for row in log if row.get("kind") == "validate"])
    averaged = {line.name.removesuffix("/macro") for line in metrics if line.name.endswith("/macro")}
    pale = [line for line in metrics if line.name.rpartition("/")[0] in averaged and not line.name.endswith("/macro")]
    loss = series_chart(losses, ylabel="training loss", key="loss", smooth=True) if losses else None
    validation = None
    if metrics:
        strong = [line for line in metrics if line not in pale] if averaged else metrics
        validation = series_chart(strong, ylabel="validation", key="validation", smooth=False, pale=pale)
    return Markup(loss) if loss else None, Markup(validation) if validation else None


def _lines(rows: Sequence[Mapping[str, object]]) -> list[Series]:
    """Return the numeric columns with at least two points, in the order met."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("kind", "samples_seen", "seconds"))
    found = []
    for name in names:
        pairs = ((row.get("samples_seen"), row.get(name)) for row in rows)
        points = [
            (float(x), float(y))
            for x, y in pairs
            if isinstance(x, int | float) and isinstance(y, int | float) and not isinstance(y, bool) and np.isfinite(y)
        ]
        if len(points) >= 2:
            found.append(Series(name, *np.array(points).T))
    return found


def _same(one: Series, other: Series) -> bool:
    return len(one.y) == len(other.y) and np.allclose(one.y, other.y, rtol=1e-6)


def picture(item: GalleryItem, results: Sequence[Result] = ()) -> Picture:
    """Return an item with its picture and heat map as data URIs.

    Args:
        item: the item.
        results: one of them may hold the case, and the map from its score to a probability.
    """
    height, width = item.image.shape[:2]
    heat = None if item.heat_map is None else png_uri(heat_map_layer(item.heat_map))
    probability, name = probability_of(item, results)
    labels = tuple(label_of(box, width=width, height=height) if box.label else None for box in item.boxes)
    return Picture(
        item=item,
        uri=png_uri(item.image),
        heat_uri=heat,
        width=width,
        height=height,
        labels=labels,
        probability=probability,
        calibration=words.map_words(name),
    )


def probability_of(item: GalleryItem, results: Sequence[Result]) -> tuple[float | None, str]:
    """Return the probability of an item's score and the name of the map; (None, "") where no map was fitted for it.

    Args:
        item: a case.
        results: the first that has the finding among its cases, with this very score, is the item's own.
    """
    for result in results:
        column = f"score:{item.finding}"
        if result.cases is None or column not in result.cases or item.finding not in result.fitted:
            continue
        scores = pd.to_numeric(result.cases[column], errors="coerce").to_numpy(np.float64)
        if not np.isclose(scores, item.score, rtol=1e-6, atol=1e-9).any():
            continue
        name = released_map(result, [row for row in result.metrics if row.label == item.finding])
        plain = result.fitted[item.finding].get("calibration", {}).get(name)
        if name is not None and plain is not None:
            return float(Calibrator.from_dict(plain).probabilities([item.score])[0]), name
    return None, ""


_SIZE = 0.055  # of the picture's width
_WIDTH = 0.66  # of a letter, in its height: more than a sans-serif's mean
_MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Label:
    """Words that begin at (x, y), the foot of their line, in pixels of the picture."""

    words: str
    x: float
    y: float
    size: float


def label_of(box: Box, *, width: int, height: int) -> Label:
    """Return the label of a box: above it, or below where there is no room.

    Example:
        >>> made = label_of(Box(90, 50, 99, 60, "endotracheal_tube"), width=100, height=100)
        >>> made.words, made.x + 0.66 * made.size * len(made.words) <= 99
        ('endotracheal tube', True)
    """
    words = finding(box.label)
    room = (1 - 2 * _MARGIN) * width
    size = min(_SIZE * width, room / (_WIDTH * max(1, len(words))))
    long = _WIDTH * size * len(words)
    x = min(max(box.left, _MARGIN * width), (1 - _MARGIN) * width - long)
    above = box.top - 0.3 * size
    y = above if above >= size else min(box.bottom + size, height - 0.3 * size)
    return Label(words, round(x, 2), round(y, 2), round(size, 2))


TITLES = {"hit": "Surest hit", "miss": "Worst miss", "false_alarm": "Worst false alarm", "unsure": "Least decided"}


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A finding with its pictures: (title, picture), in the order of `TITLES`."""

    finding: str
    pictures: tuple[tuple[str, Picture], ...]


def error_rows(items: Sequence[GalleryItem], results: Sequence[Result] = ()) -> list[ErrorRow]:
    """Return one row a finding, in the order met; `results` as for `picture`."""
    rows = []
    for name in dict.fromkeys(item.finding for item in items):
        mine = sorted((item for item in items if item.finding == name), key=lambda item: CHOSEN.index(item.chosen))
        rows.append(ErrorRow(finding(name), tuple((TITLES[item.chosen], picture(item, results)) for item in mine)))
    return rows
