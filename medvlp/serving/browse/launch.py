"""Start the explorer: the page behind the reading room's guard, by the same rules of who may reach it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.serving.browse.shelf import Shelf
from medvlp.serving.guard import EXPLORER, Guard, Passwords
from medvlp.serving.launch import Options, free_port, hosts_of, wait_for_signal


class Explorer:
    """An explorer that is open; ``close`` ends it and leaves nothing behind."""

    def __init__(self, server: Any, url: str, folder: Path) -> None:  # noqa: ANN401
        self._server, self.url, self.folder = server, url, folder
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()

    def wait(self, announce: Callable[[str], object]) -> None:
        """Announce the address, serve until SIGINT or SIGTERM, then close."""
        try:
            address = f"The explorer is open at {self.url} (Ctrl-C closes it)."
            wait_for_signal(lambda: announce(address), self._thread.is_alive)
        finally:
            self.close()

    def close(self) -> None:
        """Stop serving and remove the private folder."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def open_explorer(folder: Path, options: Options, *, root: Path | None = None) -> Explorer:
    """Open the explorer and return at once.

    Args:
        folder: where runs, manifests, tables of features and bundles are looked for.
        options: of these further bundles, and who may reach it.
        root: folder of the pictures; None: as the manifests say.

    Raises:
        UserError: gradio is missing, the port is taken, or there is no such folder.
    """
    if find_spec("gradio") is None:
        raise UserError('The explorer needs gradio: pip install "openmedvlp[demo]".')
    shelf = Shelf(folder, options.bundles, root)
    passwords = Passwords(options.auth) if options.auth else None
    port = free_port(options.host, options.port)
    private = Path(tempfile.mkdtemp(prefix="medvlp-explorer-"))  # mode 0700
    os.environ.update(GRADIO_TEMP_DIR=str(private), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
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
        uvicorn.Config(guard, host=options.host, port=port, log_level="error", access_log=False)  # pyrefly: ignore
    )
    return Explorer(server, f"http://{options.host}:{port}/", private)
