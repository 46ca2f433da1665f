"""Draw the page: plain data in, one HTML text out that needs nothing else, no script, no network, no font."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medvlp.evaluation.bootstrap import patient_clusters
from medvlp.evaluation.curves import precision_recall_curve, roc_curve
from medvlp.evaluation.metrics import UndefinedMetricError
from medvlp.evaluation.page import content, words
from medvlp.evaluation.page.charts import Series, curve_chart, series_chart
from medvlp.evaluation.page.few_shot import few_shot_tables
from medvlp.evaluation.page.grounding import COLUMNS, grounding_rows, sanity_rows
from medvlp.evaluation.page.inputs import GalleryItem, ReportInputs
from medvlp.evaluation.page.pictures import heat_map_layer, png_uri
from medvlp.evaluation.page.score_content import score_parts
from medvlp.evaluation.results import AVERAGES, Metric, Result

__all__ = ["environment", "render_report"]


@dataclass(frozen=True, slots=True)
class _CurveFigure:
    """A finding's chart with its caption."""

    name: str
    caption: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class _Picture:
    """A gallery item with its picture and heat map as data URIs."""

    item: GalleryItem
    uri: str
    heat_uri: str | None
    width: int
    height: int


def render_report(inputs: ReportInputs) -> str:
    """Return the page as HTML.

    Every text from data (reports, findings, configuration) is escaped; a content security policy in the page forbids
    scripts and any request.

    Args:
        inputs: what to show; empty parts leave their section out.

    Example:
        >>> "<title>A &lt;b&gt;</title>" in render_report(ReportInputs(title="A <b>", results=()))
        True
    """
    headline = content.headline_of(inputs.results)
    scored = [result for result in inputs.results if content.metric_rows(result)]
    ranked = [result for result in inputs.results if content.retrieval_rows(result)]
    roc, precision_recall = _curves(headline, inputs) if headline is not None else ([], [])
    loss, validation = _learning_curves(inputs.log)
    return (
        environment()
        .get_template("report.html.jinja", globals=_HELPERS)
        .render(
            inputs=inputs,
            summary=content.summary_of(inputs.results),
            tiles=content.tiles_of(inputs.results),
            forest=content.finding_forest(inputs.results),
            headline=headline,
            roc=roc,
            precision_recall=precision_recall,
            scored=[(result, content.metric_rows(result)) for result in scored],
            retrieved=[(result, content.retrieval_rows(result)) for result in ranked],
            controls=[result for result in inputs.results if result.role == "control"],
            dimensions=[
                (result, dimension)
                for result in inputs.results
                if result.role == "model"
                for dimension in content.dimensions(result)
            ],
            loss=loss,
            validation=validation,
            parts=[
                part
                for at, result in enumerate(inputs.results)
                if (part := score_parts(result, resamples=inputs.resamples, seed=inputs.seed, key=f"{at}")) is not None
            ],
            gallery=[_picture(item) for item in inputs.gallery],
            grounded=grounding_rows(inputs.results),
            grounding_columns=list(COLUMNS.values()),
            sanity=sanity_rows(inputs.results),
            few_shots=few_shot_tables(inputs.results),
            examples=[(example, png_uri(example.image)) for example in inputs.retrieval],
        )
    )


@cache
def environment() -> Environment:
    """Return the templates of all pages, with the filters that write numbers."""
    made = Environment(
        loader=PackageLoader("medvlp.evaluation.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": words.number,
        "integer": words.integer,
        "percent": words.percent,
        "interval": words.interval,
        "finding": words.finding,
        "tidy": words.tidy,
    }
    return made


def _is_tree(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _reason(row: Metric) -> str:
    return words.REASONS.get(row.reason or "", "")


def _macros(result: Result) -> list[Metric]:
    return [row for row, _ in content.metric_rows(result) if row.label == "macro"]


def _plain(value: object) -> str:
    """Return a leaf of a configuration in one line."""
    if isinstance(value, Mapping):
        return "{}" if not value else ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(rows: Sequence[tuple[Metric, Metric | None]]) -> list[str]:
    """Return the foot notes of a table: each reason once, in the order met."""
    reasons = [row.reason for row, _ in rows if row.reason]
    return [words.REASONS.get(reason, reason) for reason in dict.fromkeys(reasons)]


def _forms(scored: Sequence[tuple[Result, Sequence[tuple[Metric, Metric | None]]]]) -> str:
    """Return the forms of the intervals of AUROC, in words."""
    words = {"percentile": "percentiles", "bca": "BCa", "logit": "logit"}
    forms = dict.fromkeys(row.interval for _, rows in scored for row, _ in rows if row.low is not None)
    return " and ".join(words.get(form, form) for form in forms) or "none"


_HELPERS: dict[str, Any] = {
    "name_of": words.name_of,
    "reason_of": _reason,
    "is_tree": _is_tree,
    "plain": _plain,
    "notes_of": _notes,
    "macros_of": _macros,
    "forms_of": _forms,
    "averages": AVERAGES,
}


def _curves(result: Result, inputs: ReportInputs) -> tuple[list[_CurveFigure], list[_CurveFigure]]:
    """Draw ROC and precision-recall of every finding from the per-case table; none without it."""
    roc: list[_CurveFigure] = []
    precision_recall: list[_CurveFigure] = []
    if result.cases is None:
        return roc, precision_recall
    rows = {row.label: (row, precision) for row, precision in content.metric_rows(result) if row.split in ("", "test")}
    table = result.cases if "split" not in result.cases else result.cases[result.cases["split"].astype(str) == "test"]
    for at, (label, (row, precision)) in enumerate(rows.items()):
        if label == "macro" or row.value is None or f"score:{label}" not in table:
            continue
        truth = pd.to_numeric(table[f"label:{label}"], errors="coerce")
        known = truth.isin([0, 1]).to_numpy()
        labels, scores = truth[known].to_numpy(), pd.to_numeric(table.loc[known, f"score:{label}"]).to_numpy()
        clusters = patient_clusters(table.loc[known, "patient_id"].astype(str), labels == 1)
        try:
            first = roc_curve(labels, scores, clusters, resamples=inputs.resamples, seed=inputs.seed)
            second = precision_recall_curve(labels, scores, clusters, resamples=inputs.resamples, seed=inputs.seed)
        except UndefinedMetricError:
            continue
        prevalence = float(np.mean(labels))
        name = words.finding(label)
        chart = curve_chart(first, kind="roc", chance=prevalence, key=f"roc-{at}")
        roc.append(_CurveFigure(name, f"AUROC {words.number(row.value)}", Markup(chart)))
        chart = curve_chart(second, kind="pr", chance=prevalence, key=f"pr-{at}")
        value = words.number(precision.value if precision is not None else None)
        precision_recall.append(_CurveFigure(name, f"AP {value}", Markup(chart)))
    return roc, precision_recall


def _learning_curves(log: Sequence[Mapping[str, object]]) -> tuple[Markup | None, Markup | None]:
    """Draw losses of training rows, and metrics of validation rows, over samples seen; None where there are none.

    A macro average stands out before the findings that it is made of.
    """
    training = _lines([row for row in log if row.get("kind", "train") == "train"])
    losses = [line for line in training if line.name == "loss" or "/" in line.name]
    # With one objective its term is the loss: one line is enough.
    losses = [line for at, line in enumerate(losses) if not any(_same(line, other) for other in losses[:at])]
    metrics = _lines([row for row in log if row.get("kind") == "validate"])
    macro = [line for line in metrics if line.name.endswith("macro")]
    pale = [line for line in metrics if line not in macro] if macro else []
    loss = series_chart(losses[:6], ylabel="training loss", key="loss", smooth=True) if losses else None
    validation = None
    if metrics:
        strong = macro or metrics[:6]
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


def _picture(item: GalleryItem) -> _Picture:
    height, width = item.image.shape[:2]
    heat = None if item.heat_map is None else png_uri(heat_map_layer(item.heat_map))
    return _Picture(item, png_uri(item.image), heat, width, height)
