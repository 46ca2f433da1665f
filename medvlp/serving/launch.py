"""Start the reading room: checked options, a private folder, models, samples, the sweeper, the server."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.core.files import read_json
from medvlp.core.passing import passing_folder, remove_passing
from medvlp.core.processes import ending_signals
from medvlp.serving.audit import AuditLog
from medvlp.serving.guard import ROOM, Passwords
from medvlp.serving.sessions import Limits, Sessions

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Options:
    """Options of the server: address, models, limits.

    Attributes:
        bundles: folders of models.
        host: address to listen on.
        port: 0 takes a free one.
        auth: file of users; needed off loopback.
        names: further host names under which it is reached.
        index: folder of similar cases.
        backend: what computes the towers, see `medvlp.models.backends`.
        device: where models run, see `medvlp.load`.
        dicomweb: root of an archive.
        dicomweb_auth: file with USER:PASSWORD for it.
        audit: file of the audit log; none is kept without it.
        samples: whether synthetic studies are offered.
        schema: whether the API is described, see `medvlp.serving.guard.Guard`.
        public: anybody may come, without `auth`: synthetic studies alone are shown, and uploads are refused.
        framed_by: origin whose pages may show the room in a frame, such as a host of demos.
        limits: of uploads and sessions.
    """

    bundles: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 7860
    auth: Path | None = None
    names: tuple[str, ...] = ()
    index: Path | None = None
    backend: str = "torch"
    device: str = "cpu"
    dicomweb: str | None = None
    dicomweb_auth: Path | None = None
    audit: Path | None = None
    samples: bool = True
    schema: bool = False
    public: bool = False
    framed_by: str = ""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.host not in _LOOPBACK and self.auth is None and not self.public:
            raise UserError(
                f"{self.host} can be reached by others: give --auth FILE with users, or leave --host out (127.0.0.1)."
            )
        if self.public and (self.index or self.dicomweb or not self.samples):
            raise UserError(
                "A public room shows the synthetic studies alone: leave index and archive out, and keep the samples."
            )

    def url(self, port: int) -> str:
        """Return the address at a port."""
        return f"http://{_named(self.host)}:{port}/"


class Running:
    """A server that is open; ``close`` ends it and leaves nothing behind.

    Args:
        name: what is open.
        url: its address.
        folder: private; removed at the end.
        stop: ends serving.
        going: whether it still serves.
    """

    def __init__(
        self, name: str, url: str, folder: Path, stop: Callable[[], object], going: Callable[[], bool]
    ) -> None:
        self.url, self.folder = url, folder
        self._name, self._stop, self._going = name, stop, going

    def wait(self, report: Callable[[str], object]) -> None:
        """Report the address, serve until a signal to end, then close; it counts from the first word on."""
        try:
            sentence = f"The {self._name} is open at {self.url} (Ctrl-C closes it; nothing is stored)."
            wait_for_signal(lambda: report(sentence), self._going)
        finally:
            self.close()

    def close(self) -> None:
        """Stop serving and remove the private folder."""
        self._stop()
        remove_passing(self.folder)


def open_room(
    options: Options, *, readers: Sequence[Any] | None = None, offer: Callable[[], tuple[Path, ...]] | None = None
) -> Running:
    """Open the reading room and return at once.

    Args:
        options: see `Options`.
        readers: models that are loaded already, instead of ``options.bundles``.
        offer: gives bundles instead of these, which may take minutes: asked last.

    Raises:
        UserError: gradio is missing, the port is taken, or a bundle cannot be loaded.
    """
    passwords, port, folder = prepare(options, "reading room")
    try:
        return _launch(replace(options, bundles=offer()) if offer else options, readers, passwords, port, folder)
    except BaseException:  # who interrupts the start leaves nothing behind either
        remove_passing(folder)
        raise


def prepare(options: Options, name: str) -> tuple[Passwords | None, int, Path]:
    """Return who may enter, a port and a private folder of mode 0700, which gradio is given before it is imported.

    Raises:
        UserError: gradio is missing, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise UserError(f'The {name} needs gradio: pip install "openmedvlp[demo]".')
    passwords = Passwords(options.auth) if options.auth else None
    port = free_port(options.host, options.port)
    folder = passing_folder(name.split()[-1])
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
    return passwords, port, folder


def _launch(
    options: Options, readers: Sequence[Any] | None, passwords: Passwords | None, port: int, folder: Path
) -> Running:
    from medvlp.serving.app import build_server
    from medvlp.serving.room import Room
    from medvlp.serving.samples import Samples

    archive = None
    if options.dicomweb:
        from medvlp.serving.exports.pacs import Pacs

        archive = Pacs(options.dicomweb, options.dicomweb_auth)
    models = tuple(readers) if readers is not None else _readers(options)
    sessions = Sessions(options.limits)
    samples = Samples(folder) if options.samples else None
    audit, uploads = AuditLog(options.audit), not options.public
    room = Room(models, sessions, samples=samples, audit=audit, folder=folder, archive=archive, uploads=uploads)
    surface, hosts = replace(ROOM, framed_by=options.framed_by), hosts_of(options.host, options.names)
    server = build_server(room, hosts=hosts, passwords=passwords, schema=options.schema, surface=surface)
    server.launch(
        server_name=_named(options.host), server_port=port, prevent_thread_lock=True, quiet=True, share=False,
        ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, show_error=False, footer_links=[],
        max_file_size="1kb", run_history=False,
    )  # fmt: skip
    # Uvicorn writes its own name on each answer, behind the guard: now, and each second anew.
    blocks: Any = server.blocks
    blocks.server.config.encoded_headers = []
    blocks.server.server_state.default_headers.clear()
    if samples is not None:
        samples.make_ahead(room.presets)
    closed = threading.Event()

    def sweep() -> None:
        while not closed.wait(2):
            sessions.sweep()

    def stop() -> None:
        closed.set()
        blocks.close(verbose=False)
        audit.close()
        if samples is not None:
            samples.close()

    threading.Thread(target=sweep, daemon=True).start()
    return Running("reading room", options.url(port), folder, stop, lambda: not closed.is_set())


def _readers(options: Options) -> tuple[Any, ...]:
    import medvlp
    from medvlp.serving.reader import Reader

    models = {bundle: medvlp.load(bundle, device=options.device, backend=options.backend) for bundle in options.bundles}
    # An index is one model's: the others search none. Where it is nobody's, all have it, and the first refuses it.
    facts = None if options.index is None else options.index / "index.json"
    own = read_json(facts).get("model") if facts is not None and facts.is_file() else None
    owned = own in [model.bundle.hash for model in models.values()]
    return tuple(
        Reader(model, name=_name(bundle), index=options.index if model.bundle.hash == own or not owned else None)
        for bundle, model in models.items()
    )


def _name(bundle: Path) -> str:
    """A bundle lies in the folder of its run, which is what people call it by."""
    path = bundle.resolve()
    return path.parent.name if path.name == "bundle" else path.name


def _named(host: str) -> str:
    """Return a host as it stands in addresses and in the header Host (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def hosts_of(host: str, names: Sequence[str]) -> frozenset[str]:
    """Return the names under which a server may be called; gradio calls itself by 127.0.0.1 or by one of these."""
    own = _LOOPBACK if host in _LOOPBACK else ("localhost",) if host == "0.0.0.0" else ()
    return frozenset({*map(_named, (host, *own, *names)), "[::1]", "127.0.0.1"})


def wait_for_signal(begin: Callable[[], object], going: Callable[[], bool] = lambda: True) -> None:
    """Call `begin`, and return at a signal to end, or when it no longer goes on; it counts from the call on."""
    asked = threading.Event()
    before = {each: signal.signal(each, lambda *_: asked.set()) for each in ending_signals()}
    try:
        begin()
        while going() and not asked.wait(1):
            pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def free_port(host: str, port: int) -> int:
    """Return a port that can be listened on: `port`, or for 0 any.

    Raises:
        UserError: it cannot be.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port.") from None
        return int(probe.getsockname()[1])
