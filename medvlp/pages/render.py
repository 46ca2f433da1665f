"""Draw the page: plain data in, one HTML text out that needs nothing else, no script, no network, no font."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from medvlp.evaluation import words
from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import headline_of, metric_rows, retrieval_rows
from medvlp.features.drawing import heat_colours, png_uri
from medvlp.pages.checklist import answered, checklists
from medvlp.pages.downloads import with_downloads
from medvlp.pages.evaluated import cohort_rows, evaluation_facts
from medvlp.pages.facts import SECTIONS, facts_of
from medvlp.pages.few_shot import few_shot_tables
from medvlp.pages.figures import curves, error_rows, learning_curves, picture
from medvlp.pages.forest import finding_forest
from medvlp.pages.gate import caveats_of, gate_tables
from medvlp.pages.grounding import COLUMNS, grounding_rows, sanity_rows
from medvlp.pages.holistic import attack_rows, holistic_axes
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.places import other_tables, places_tables
from medvlp.pages.robustness import robustness_rows
from medvlp.pages.score_content import score_parts
from medvlp.pages.subgroups import audited, subgroups
from medvlp.pages.summary import summary_of, tiles_of

_TURNS = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}  # they turn numbers too
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufefc][\u0590-\u08ff\ufb1d-\ufefc ]*(?<! )")


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
    results = inputs.results
    headline = headline_of(results)
    ranked = [(result, retrieval_rows(result)) for result in results]
    roc, precision_recall = curves(headline, resamples=inputs.resamples, seed=inputs.seed) if headline else ([], [])
    loss, validation = learning_curves(inputs.log)
    parts = [
        score_parts(result, resamples=inputs.resamples, seed=inputs.seed, key=f"{at}")
        for at, result in enumerate(results)
    ]
    facts = facts_of(inputs)
    page = (
        environment()
        .get_template("report.html.jinja", globals=_HELPERS)
        .render(
            inputs=inputs,
            summary=summary_of(results),
            evaluated=evaluation_facts(inputs, facts),
            tiles=tiles_of(results),
            forest=finding_forest(results),
            headline=headline,
            roc=roc,
            precision_recall=precision_recall,
            scored=[(result, rows) for result in results if (rows := metric_rows(result))],
            retrieved=[(result, rows) for result, rows in ranked if rows],
            controls=[result for result in results if result.role == "control"],
            groups=subgroups(results),
            audit=audited(results),
            robust=robustness_rows(results),
            holistic=holistic_axes(results),
            attacks=attack_rows(results),
            surrogate=next((each.options.get("surrogate", "") for each in results if each.name == "attacks"), ""),
            loss=loss,
            validation=validation,
            parts=[part for part in parts if part is not None],
            gallery=[picture(item, results) for item in inputs.typical],
            errors=error_rows(inputs.errors, results),
            gates=gate_tables(results),
            caveats=caveats_of(results),
            heat_colours=heat_colours(),
            grounded=grounding_rows(results),
            grounding_columns=list(COLUMNS.values()),
            sanity=sanity_rows(results),
            places=places_tables(results),
            others=other_tables(results),
            few_shots=few_shot_tables(results),
            examples=[(example, png_uri(example.image)) for example in inputs.retrieval],
            cohort=cohort_rows(inputs.record),
            checklists=[(each, answered(each, facts)) for each in checklists()] if results else [],
            sections=SECTIONS,
        )
    )
    return with_downloads(page)


@cache
def environment() -> Environment:
    """Return the templates of all pages, with the filters that write numbers."""
    made = Environment(
        loader=PackageLoader("medvlp.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value.translate(_TURNS) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": words.number,
        "integer": words.integer,
        "percent": words.percent,
        "interval": words.interval,
        "p_value": words.p_value,
        "finding": words.finding,
        "tidy": words.tidy,
        "isolated": _isolated,
    }
    return made


def _isolated(text: str) -> Markup:
    """Return text with what is written from right to left in <bdi>: else a number's sign after it changes its side."""
    return Markup(_RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", str(escape(text))))


def _plain(value: object) -> str:
    """Return a leaf of a configuration in one line."""
    if isinstance(value, Mapping):
        return "{}" if not value else ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(rows: Sequence[Metric]) -> list[str]:
    """Return the foot notes of a table: each reason once, in the order met."""
    reasons = [row.reason for row in rows if row.reason]
    return [words.REASONS.get(reason, reason) for reason in dict.fromkeys(reasons)]


def _forms(scored: Sequence[tuple[Result, Sequence[tuple[Metric, Metric | None]]]]) -> str:
    """Return the forms of the intervals of AUROC, in words."""
    words = {"percentile": "percentiles", "bca": "BCa", "logit": "logit"}
    forms = dict.fromkeys(row.interval.form for _, rows in scored for row, _ in rows if row.interval.low is not None)
    return " and ".join(words.get(form, form) for form in forms) or "none"


_HELPERS: dict[str, Any] = {
    "name_of": words.name_of,
    "reason_of": lambda row: words.REASONS.get(row.reason or "", ""),
    "is_tree": lambda value: isinstance(value, Mapping) and bool(value),
    "plain": _plain,
    "notes_of": _notes,
    "macros_of": lambda result: [row for row, _ in metric_rows(result) if row.label == "macro"],
    "forms_of": _forms,
    "averages": AVERAGES,
}
