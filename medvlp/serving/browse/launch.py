"""Start the explorer: the page behind the reading room's guard, by the same rules of who may reach it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from medvlp.serving.browse.shelf import Shelf
from medvlp.serving.guard import EXPLORER, Guard
from medvlp.serving.launch import Options, Running, hosts_of, prepare


def open_explorer(folder: Path, options: Options, *, root: Path | None = None) -> Running:
    """Open the explorer and return once it answers.

    Args:
        folder: where runs, manifests, tables of features and bundles are looked for.
        options: of these further bundles, and who may reach it.
        root: folder of the pictures; None: as the manifests say.

    Raises:
        UserError: gradio is missing, the port is taken, or there is no such folder.
    """
    shelf = Shelf(folder, options.bundles, root)
    passwords, port, private = prepare(options, "explorer")
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from medvlp.serving.browse.page import CSS, build_page

    theme = gr.themes.Base(
        primary_hue="cyan", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), build_page(shelf), path="/", server_name=options.host,
        server_port=port, footer_links=[], run_history=False, show_error=False, ssr_mode=False, pwa=False,
        mcp_server=False, enable_monitoring=False, max_file_size="1gb", theme=theme, css=CSS,
    )  # fmt: skip
    hosts = hosts_of(options.host, options.names)
    guard = Guard(app, sessions=None, hosts=hosts, passwords=passwords, surface=EXPLORER)
    server = uvicorn.Server(
        uvicorn.Config(guard, host=options.host, port=port, log_level="error", server_header=False)  # pyrefly: ignore
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=10)

    return Running("explorer", options.url(port), private, stop, thread.is_alive)
