"""Tabs of models and what they are made of: map of embeddings, sentences, components, configurations, data."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medvlp.core.component_words import component_words
from medvlp.core.components import KINDS, describe, entries
from medvlp.core.errors import UserError
from medvlp.core.resources import resource, resource_folder
from medvlp.core.table import FeatureTable
from medvlp.data.card_text import card_words, layout_words
from medvlp.data.catalogue import card_of, catalogue, layout_of
from medvlp.data.manifest import Manifest
from medvlp.serving.browse.embedding import Projection, colour_columns, feature_columns, map_svg, project
from medvlp.serving.browse.mistakes import safely
from medvlp.serving.browse.playground import Playground, answers_html, split_names
from medvlp.serving.browse.runs import quarantine
from medvlp.serving.browse.shelf import Shelf
from medvlp.serving.browse.thumbnails import Album

if TYPE_CHECKING:
    import gradio

# A point under the pointer is asked for once it has rested there; a click asks at once.
_POINT = """
const ask = (event, wait) => {
  const row = event.target.dataset && event.target.dataset.row;
  clearTimeout(element.waiting);
  if (row !== undefined) element.waiting = setTimeout(() => trigger('select', { row: Number(row) }), wait);
};
element.addEventListener('pointerover', (event) => ask(event, 120));
element.addEventListener('click', (event) => ask(event, 0));
"""


def map_tab(page: gradio.Blocks, shelf: Shelf) -> None:
    """A table of features as a map."""
    import gradio as gr

    tables = shelf.names("table")
    with gr.Row():
        table = gr.Dropdown(tables, value=next(iter(tables), None), label="Table of features", elem_id="table")
        column = gr.Dropdown(label="Features", elem_id="features")
        colour = gr.Dropdown(label="Coloured by", elem_id="colour")
    if not tables:
        gr.Markdown(
            "No table of features lies below the folder: make one with `medvlp embed BUNDLE MANIFEST --out FILE`."
        )
    with gr.Row():
        with gr.Column(scale=4):
            drawn = gr.HTML(js_on_load=_POINT, elem_id="map")
        with gr.Column(scale=1, min_width=280):
            seen = gr.HTML('<p class="fine">Point at a case to see it.</p>', elem_id="map-case")
    points = gr.State(None)

    def cohort(name: str, ids: list[str], data: object) -> Manifest | None:
        return shelf.manifest_of(ids, name.rpartition("/")[0], data=data)

    @safely
    def choose(name: str | None) -> tuple[Any, ...]:
        if not name:
            return gr.skip(), gr.skip()
        loaded = FeatureTable.load(shelf.path("table", name))
        columns = feature_columns(loaded)
        colours = list(colour_columns(loaded, cohort(name, list(loaded.ids), loaded.meta.get("data"))))
        first = next((each for each in colours if each.startswith("label.")), next(iter(colours), None))
        return gr.Dropdown(choices=columns, value=columns[0]), gr.Dropdown(choices=colours, value=first)

    @safely
    def draw(name: str | None, what: str | None, by: str | None) -> tuple[Any, ...]:
        if not name or not what:
            return "", None
        loaded = FeatureTable.load(shelf.path("table", name))
        shown = project(loaded, what)
        values = colour_columns(loaded, cohort(name, list(loaded.ids), loaded.meta.get("data"))).get(by or "")
        row_of = {str(each): row for row, each in enumerate(loaded.ids)}
        own = None if values is None else [values[row_of[each]] for each in shown.ids]
        return map_svg(shown, own, by or "all"), shown

    @safely
    def point(shown: Projection | None, name: str, event: gr.EventData) -> str:
        row = int(event._data["row"])
        if shown is None or not 0 <= row < len(shown.ids):
            raise UserError("The map has changed: point again.")
        case = shown.ids[row]
        picture = Album(cohort(name, [case], shown.data)).html(case)
        return f'<figure class="case">{picture}<figcaption>{escape(case)}</figcaption></figure>'

    point.__annotations__["event"] = gr.EventData  # gradio looks for the class, not its name
    asked = ([table, column, colour], [drawn, points])
    for begin in (page.load, table.input):
        begin(choose, table, [column, colour]).then(draw, *asked)
    gr.on([column.input, colour.input], draw, *asked)
    drawn.select(point, [points, table], seen, show_progress="hidden")


def playground_tab(page: gradio.Blocks, shelf: Shelf, play: Playground) -> None:
    """Sentences against pictures."""
    import gradio as gr

    bundles, manifests = shelf.names("bundle"), shelf.names("manifest")
    text = "There is a left pleural effusion.\nThe heart is enlarged."
    with gr.Row():
        with gr.Column(scale=1, min_width=340):
            bundle = gr.Dropdown(bundles, value=next(iter(bundles), None), label="Bundle", elem_id="bundle")
            sentences = gr.Textbox(text, label="Sentences, one a line", lines=4, elem_id="sentences")
            manifest = gr.Dropdown(
                manifests, value=next(iter(manifests), None), label="Pictures of", elem_id="manifest"
            )
            with gr.Row():
                split = gr.Dropdown(label="Split", elem_id="split", min_width=90)
                count = gr.Number(8, precision=0, label="How many", min_width=90)
                seed = gr.Number(0, precision=0, label="Drawn by seed", min_width=90)
            with gr.Row():
                go = gr.Button("Ask", variant="primary", elem_id="ask")
                own = gr.UploadButton("Ask of own files", file_count="multiple", elem_id="own")
        with gr.Column(scale=2):
            answers = gr.HTML('<p class="fine">Each sentence is asked against its denial.</p>', elem_id="answers")

    @safely
    def splits(name: str | None) -> Any:  # noqa: ANN401
        found = split_names(shelf.manifest(name)) if name else []
        return gr.Dropdown(choices=["", *found], value=next(iter(found), ""))

    @safely
    def ask(model: str, words: str, name: str, part: str, many: int, drawn: int) -> str:
        files = play.files_of(name, model, split=part, count=many or 0, seed=drawn or 0)
        return answers_html(play.ask_files(model, files, words))

    @safely
    def ask_own(model: str, words: str, files: list[str]) -> str:
        # In the server's own folder, which goes even after a crash; a name may be a patient's: it goes no further.
        with tempfile.TemporaryDirectory(dir=Path(files[0]).parent) as folder:
            named = []
            try:
                for number, file in enumerate(files, 1):
                    named.append((f"file {number}", Path(file).rename(Path(folder, str(number)))))
            finally:
                for file in files:
                    Path(file).unlink(missing_ok=True)
            return answers_html(play.ask_files(model, named, words))

    page.load(splits, manifest, split)
    manifest.input(splits, manifest, split)
    go.click(ask, [bundle, sentences, manifest, split, count, seed], answers, concurrency_id="model")
    own.upload(ask_own, [bundle, sentences, own], answers, concurrency_id="model")


def parts_tab(shelf: Shelf) -> None:
    """Components, configurations, data sets, and what runs could not read."""
    import gradio as gr

    def components(kind: str) -> pd.DataFrame:
        rows = [(entry.name, entry.line()) for entry in entries(kind)]
        return pd.DataFrame(rows, columns=pd.Index(["name", KINDS[kind].what]))

    def configuration(name: str) -> str:
        return resource("configs", name).read_text("utf-8")

    with gr.Tab("Components"):
        kind = gr.Dropdown(
            [(f"{name}: {each.what}", name) for name, each in KINDS.items()], value="objectives", label="Kind"
        )
        with gr.Row():
            with gr.Column(scale=3):
                listed = gr.Dataframe(
                    components("objectives"), interactive=False, wrap=True, elem_id="components",
                    column_widths=["25%", "75%"],
                )  # fmt: skip
            with gr.Column(scale=2):
                detail = gr.Code(
                    language=None, interactive=False, label="Of the one clicked", elem_id="component", wrap_lines=True
                )
    with gr.Tab("Configurations"):
        folder = resource_folder("configs")
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))
        config = gr.Dropdown(names, value=names[0], label="Shipped configuration", elem_id="config")
        shown = gr.Code(configuration(names[0]), language="yaml", interactive=False, elem_id="config-text")
    with gr.Tab("Data sets"), gr.Row():
        with gr.Column(scale=3):
            rows = [
                (each.name, ", ".join(each.modality), each.access, each.licence, each.title) for each in catalogue()
            ]
            sets = gr.Dataframe(
                pd.DataFrame(rows, columns=pd.Index(["name", "modality", "access", "licence", "title"])),
                interactive=False, wrap=True, elem_id="sets", column_widths=["22%", "15%", "18%", "20%", "25%"],
            )  # fmt: skip
        with gr.Column(scale=2):
            card = gr.Code(language=None, label="Of the one clicked", elem_id="card", wrap_lines=True, max_lines=30)
    with gr.Tab("Quarantine"):
        run = gr.Dropdown(
            shelf.names("run"), value=None, label="Records that a run could not read", elem_id="quarantine-run"
        )
        left = gr.Dataframe(interactive=False, elem_id="quarantine", wrap=True)

    def left_out(name: str) -> gr.Dataframe:
        return gr.Dataframe(rows := quarantine(shelf.path("run", name)), label=f"{len(rows)} left out")

    @safely
    def pick(which: str, event: gr.SelectData) -> str:
        return component_words(describe(which, str(event.row_value[0])))

    @safely
    def pick_set(event: gr.SelectData) -> str:
        name = str(event.row_value[0])
        card = card_of(name)
        return layout_words(layout_of(name)) if card is None else card_words(card)

    for each in (pick, pick_set):
        each.__annotations__["event"] = gr.SelectData
    kind.input(safely(components), kind, listed)
    listed.select(pick, kind, detail)
    config.input(safely(configuration), config, shown)
    sets.select(pick_set, None, card)
    run.input(safely(left_out), run, left)
