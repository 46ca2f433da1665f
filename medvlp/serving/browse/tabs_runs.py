"""Tabs of what was trained and judged: runs, results, errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medvlp.core.errors import DataError
from medvlp.serving.browse.errors import KINDS, cards, error_table, findings_of
from medvlp.serving.browse.mistakes import safely
from medvlp.serving.browse.results import compared, metric_names, metric_table, notes_of
from medvlp.serving.browse.runs import curve_names, curves, run_table
from medvlp.serving.browse.shelf import Shelf, result_of
from medvlp.serving.browse.thumbnails import Album

if TYPE_CHECKING:
    import gradio

_SHOWN = 24


def runs_tab(page: gradio.Blocks, shelf: Shelf) -> None:
    """Table of runs, curves of those chosen; both follow a training that is running."""
    import gradio as gr

    widths: list[int | str] = ["12%", "13%", "7%", "7%", "6%", "15%", "5%", "14%", "4%", "8%", "9%"]
    table = gr.Dataframe(
        elem_id="runs", show_search="filter", interactive=False, max_height=380, column_widths=widths, wrap=True
    )  # fmt: skip
    with gr.Row():
        chosen = gr.Dropdown(label="Curves of", multiselect=True, elem_id="runs-chosen", scale=3)
        name = gr.Dropdown(label="What", elem_id="curve", scale=2)
        again = gr.Button("Look again", scale=0, min_width=150, size="sm")
    plot = gr.LinePlot(
        x="samples", y="value", color="run", x_title="samples seen", tooltip="all", color_title="run", elem_id="curves",
        label="Curve", buttons=["fullscreen"],
    )  # fmt: skip

    @safely
    def look() -> tuple[Any, ...]:
        shelf.look()
        rows = run_table(shelf)
        logged = rows[~rows["state"].isin(["evaluated", "damaged"])]["run"].tolist()
        going = rows[rows["state"] == "running"]["run"].tolist()
        return rows, gr.Dropdown(choices=logged, value=going or logged[:3])

    @safely
    def names(runs: list[str], before: str | None) -> Any:  # noqa: ANN401
        found = curve_names(shelf, runs or [])
        return gr.Dropdown(choices=found, value=before if before in found else next(iter(found), None))

    @safely
    def draw(runs: list[str], what: str | None) -> pd.DataFrame:
        return curves(shelf, runs or [], what or "")

    @safely
    def follow(runs: list[str], what: str | None) -> tuple[Any, ...]:
        rows = run_table(shelf)
        if "running" not in rows["state"].tolist():
            return gr.skip(), gr.skip()
        return rows, draw(runs, what)

    # A choice may be checked only after the list that it is of: each step waits for the one before.
    for begin in (page.load, again.click):
        begin(look, outputs=[table, chosen]).then(names, [chosen, name], name).then(draw, [chosen, name], plot)
    chosen.input(names, [chosen, name], name).then(draw, [chosen, name], plot, show_progress="hidden")
    name.input(draw, [chosen, name], plot, show_progress="hidden")
    gr.Timer(5).tick(follow, [chosen, name], [table, plot], show_progress="hidden")


def results_tab(page: gradio.Blocks, shelf: Shelf) -> None:
    """Numbers of one result, and two compared."""
    import gradio as gr

    names = list(shelf.results())
    one = _first(names)
    with gr.Row():
        result = gr.Dropdown(names, value=one, label="Result", elem_id="result", scale=3)
        metric = gr.Dropdown(label="Metric", elem_id="metric", scale=2)
        groups = gr.Checkbox(label="Subgroups", elem_id="groups", scale=1)
    notes = gr.Markdown(elem_id="notes")
    table = gr.Dataframe(elem_id="metrics", show_search="filter", interactive=False, max_height=460)
    with gr.Accordion("Compare two", open=False):
        with gr.Row():
            first = gr.Dropdown(names, value=one, label="First", elem_id="first", scale=3)
            second = gr.Dropdown(names, value=None, label="Second", elem_id="second", scale=3)
            by = gr.Dropdown(["auroc", "average_precision"], value="auroc", label="Metric", scale=1)
            common = gr.Checkbox(label="Cases that both have", scale=1)
        go = gr.Button("Compare, paired", variant="primary", elem_id="compare")
        widths: list[int | str] = ["15%", "5%", "8%", "8%", "17%", "17%", "16%", "6%", "8%"]
        difference = gr.Dataframe(elem_id="differences", interactive=False, wrap=True, column_widths=widths)
        difference_notes = gr.Markdown(elem_id="difference-notes")

    @safely
    def lists() -> list[Any]:
        shelf.look()
        return [gr.Dropdown(choices=list(shelf.results()))] * 3

    @safely
    def choose(name: str | None) -> tuple[Any, ...]:
        if not name:
            return gr.skip(), ""
        found = result_of(_of(shelf, name))
        metrics = metric_names(found)
        return gr.Dropdown(choices=metrics, value=next(iter(metrics), None)), notes_of(found)

    @safely
    def show(name: str | None, what: str | None, more: bool) -> pd.DataFrame | None:
        return metric_table(result_of(_of(shelf, name)), what, groups=more) if name and what else None

    @safely
    def compare(a: str | None, b: str | None, what: str, some: bool) -> tuple[Any, ...]:
        return compared(result_of(_of(shelf, a)), result_of(_of(shelf, b)), what, common=some)

    listed = page.load(lists, None, [result, first, second])
    for begin in (listed.then, result.input):
        begin(choose, result, [metric, notes]).then(show, [result, metric, groups], table)
    gr.on([metric.input, groups.input], show, [result, metric, groups], table)
    go.click(compare, [first, second, by, common], [difference, difference_notes])


def errors_tab(page: gradio.Blocks, shelf: Shelf) -> None:
    """Cases of a finding, the most wrong first."""
    import gradio as gr

    names = list(shelf.results())
    with gr.Row():
        result = gr.Dropdown(names, value=_first(names), label="Result", elem_id="errors-result", scale=3)
        finding = gr.Dropdown(label="Finding", elem_id="finding", scale=2)
        kind = gr.Radio(list(KINDS), value="all", label="Which", elem_id="kind", scale=2)
        start = gr.Number(1, step=_SHOWN, precision=0, label="From case", elem_id="start", scale=1)
    count, shown = gr.Markdown(elem_id="errors-count"), gr.HTML(elem_id="cards")

    @safely
    def choose(name: str | None) -> Any:  # noqa: ANN401
        found = findings_of(result_of(_of(shelf, name))) if name else []
        return gr.Dropdown(choices=found, value=next(iter(found), None))

    @safely
    def show(name: str | None, what: str | None, which: str, first: int) -> tuple[str, str]:
        if not name or not what:
            return "This result has no scores of findings case by case: choose another.", ""
        found = result_of(_of(shelf, name))
        table = error_table(found, what, kind=which)
        at = min(max(0, int(first or 1) - 1), max(0, len(table) - 1))
        mean = f", on average on the wrong side of {table['wrong'].mean():.1%} of the others"
        mean = mean if table["wrong"].notna().any() else ""
        shown = table.iloc[at : at + _SHOWN]
        album = Album(shelf.manifest_of(shown["id"].astype(str).tolist(), name.partition(": ")[0], data=found.data))
        return f"{len(table)} cases{mean}; shown from {at + 1}.", cards(shown, album, what)

    asked = ([result, finding, kind, start], [count, shown])
    for begin in (page.load, result.input):
        begin(choose, result, finding).then(show, *asked)
    gr.on([finding.input, kind.input, start.input], show, *asked)


def _first(names: list[str]) -> str | None:
    return next((name for name in names if name.endswith(": zero_shot")), next(iter(names), None))


def _of(shelf: Shelf, name: str | None) -> Path:
    found = shelf.results()
    if name not in found:
        raise DataError("That result is not there: choose one of the list.")
    return found[name]
