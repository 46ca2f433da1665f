"""The explorer's page: six tabs of Gradio's Blocks, each a few choices and what they show."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlp.core.errors import UserError
from medvlp.serving.app import place_of
from medvlp.serving.browse.playground import Playground
from medvlp.serving.browse.shelf import Shelf

if TYPE_CHECKING:
    import gradio

_LOG = logging.getLogger("medvlp.serving")
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


def safely(function: Callable[..., Any]) -> Callable[..., Any]:
    """Say a user's mistake in the page; of anything else log the kind and place, never the values."""
    import gradio as gr

    @functools.wraps(function)
    def asked(*arguments: Any) -> Any:  # noqa: ANN401
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(str(error), duration=8, print_exception=False) from None
        except gr.Error:
            raise
        except Exception as error:
            _LOG.error("%s failed: %s at %s", function.__name__, type(error).__name__, place_of(error))
            raise gr.Error("This failed; the server's log says where.", print_exception=False) from None

    return asked
