"""Start the reading room: checked options, a private folder, models, samples, the sweeper, the server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlp.core.errors import UserError
from medvlp.serving.audit import AuditLog
from medvlp.serving.guard import Passwords
from medvlp.serving.sessions import Limits, Sessions

if TYPE_CHECKING:
    from medvlp.serving.samples import Samples

__all__ = ["Options", "Running", "open_room"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Options:
    """How to open the room.

    Attributes:
        bundles: folders of models.
        host: address to listen on.
        port: 0 takes a free one.
        auth: file of users; needed off loopback.
        names: further host names under which it is reached.
        index: folder of similar cases.
        dicomweb: root of an archive.
        dicomweb_auth: file with USER:PASSWORD for it.
        audit: file of the audit log; none is kept without it.
        samples: whether synthetic studies are offered.
        schema: whether ``/openapi.json`` is served.
        limits: of uploads and sessions.
    """

    bundles: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 7860
    auth: Path | None = None
    names: tuple[str, ...] = ()
    index: Path | None = None
    dicomweb: str | None = None
    dicomweb_auth: Path | None = None
    audit: Path | None = None
    samples: bool = True
    schema: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.host not in _LOOPBACK and self.auth is None:
            raise UserError(
                f"{self.host} can be reached by others: give --auth FILE with users, or leave --host out (127.0.0.1)."
            )


class Running:
    """A room that is open; ``close`` ends it and leaves nothing behind."""

    def __init__(self, server: Any, url: str, folder: Path, sessions: Sessions, samples: Samples | None) -> None:  # noqa: ANN401
        self._server, self.url, self.folder = server, url, folder
        self._sessions, self._samples = sessions, samples
        self._open = True
        threading.Thread(target=self._sweep, daemon=True).start()

    def _sweep(self) -> None:
        while self._open:
            time.sleep(2)
            self._sessions.sweep()

    def wait(self, say: Callable[[str], object]) -> None:
        """Say the address, serve until SIGINT or SIGTERM, then close; a signal counts from the first word on."""
        asked = threading.Event()
        before = {each: signal.signal(each, lambda *_: asked.set()) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            say(f"The reading room is open at {self.url} (Ctrl-C closes it; nothing is kept).")
            while self._open and not asked.wait(1):
                pass
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            self.close()

    def close(self) -> None:
        """Stop serving and remove the private folder."""
        self._open = False
        self._server.blocks.close(verbose=False)
        if self._samples is not None:
            self._samples.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_room(options: Options, *, readers: Sequence[Any] | None = None) -> Running:
    """Open the reading room and return at once.

    Args:
        options: see `Options`.
        readers: models that are loaded already, instead of ``options.bundles``.

    Raises:
        UserError: gradio is missing, the port is taken, or a bundle cannot be loaded.
    """
    if find_spec("gradio") is None:  # not imported before it is told of its folder
        raise UserError('The reading room needs gradio: pip install "openmedvlp[demo]".')
    passwords = Passwords(options.auth) if options.auth else None
    port = options.port or _free_port(options.host)
    _check_port(options.host, port)
    folder = Path(tempfile.mkdtemp(prefix="medvlp-room-"))  # mode 0700
    try:
        return _launch(options, readers, passwords, port, folder)
    except BaseException:  # who interrupts the start leaves nothing behind either
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _launch(
    options: Options, readers: Sequence[Any] | None, passwords: Passwords | None, port: int, folder: Path
) -> Running:
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    from medvlp.serving.app import build_server
    from medvlp.serving.room import Room
    from medvlp.serving.samples import Samples

    archive = None
    if options.dicomweb:
        from medvlp.serving.exports import Pacs

        archive = Pacs(options.dicomweb, options.dicomweb_auth)
    models = tuple(readers) if readers is not None else _readers(options)
    sessions = Sessions(options.limits)
    samples = Samples(folder) if options.samples else None
    room = Room(models, sessions, samples=samples, audit=AuditLog(options.audit), folder=folder, archive=archive)
    hosts = frozenset({options.host, *(_LOOPBACK if options.host in _LOOPBACK else ()), *options.names, "[::1]"})
    # Gradio calls itself by 127.0.0.1 or the host that it listens on.
    server = build_server(room, hosts=hosts | {"127.0.0.1"}, passwords=passwords, schema=options.schema)
    server.launch(
        server_name=options.host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, ssr_mode=False,
        pwa=False, mcp_server=False, enable_monitoring=False, show_error=False, footer_links=[], max_file_size="1kb",
        run_history=False,
    )  # fmt: skip
    if samples is not None:
        samples.make_ahead()
    return Running(server, f"http://{options.host}:{port}/", folder, sessions, samples)


def _readers(options: Options) -> tuple[Any, ...]:
    import medvlp
    from medvlp.serving.reader import Reader

    return tuple(Reader(medvlp.load(bundle), name=_name(bundle), index=options.index) for bundle in options.bundles)


def _name(bundle: Path) -> str:
    """A bundle lies in the folder of its run, which is what people call it by."""
    path = bundle.resolve()
    return path.parent.name if path.name == "bundle" else path.name


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port.") from None
