"""The explorer's page: six tabs of Gradio's Blocks, each a few choices and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvlp.serving.browse.playground import Playground
from medvlp.serving.browse.shelf import Shelf

if TYPE_CHECKING:
    import gradio

CSS = (Path(__file__).parent / "page.css").read_text("utf-8")


def build_page(shelf: Shelf) -> gradio.Blocks:
    """Return the page of a shelf."""
    import gradio as gr

    from medvlp.serving.browse.tabs_models import map_tab, parts_tab, playground_tab
    from medvlp.serving.browse.tabs_runs import errors_tab, results_tab, runs_tab

    with gr.Blocks(title="medvlp explorer", analytics_enabled=False, fill_width=True, delete_cache=(60, 60)) as page:
        gr.HTML('<header class="head"><h1>Explorer</h1><p>Research use only. Nothing leaves this machine.</p></header>')
        with gr.Tab("Runs"):
            runs_tab(page, shelf)
        with gr.Tab("Results"):
            results_tab(page, shelf)
        with gr.Tab("Errors"):
            errors_tab(page, shelf)
        with gr.Tab("Embeddings"):
            map_tab(page, shelf)
        with gr.Tab("Sentences"):
            playground_tab(page, shelf, Playground(shelf))
        with gr.Tab("Parts"):
            parts_tab(shelf)
    return page
