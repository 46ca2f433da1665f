"""The reading room's server: `gr.Server` with routes and queued functions, which are the headless API. No logic."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage
from medvlp.serving.guard import ROOM, Guard, Passwords, Surface
from medvlp.serving.room import Room
from medvlp.serving.studies import Series
from medvlp.serving.uploads import FRAMED, TooLarge

if TYPE_CHECKING:
    import gradio

WEB = Path(__file__).parent / "web"
_UNWRITTEN = "Nothing is shown, as the server could not write its files ({}): make room, then ask again."
_LOG = logging.getLogger("medvlp.serving")


def build_server(
    room: Room, *, hosts: frozenset[str], passwords: Passwords | None = None, schema: bool = False,
    surface: Surface = ROOM,
) -> gradio.Server:  # fmt: skip
    """Return the server; `launch.open_room` starts it.

    Args:
        room: what it serves.
        hosts: names under which it may be called.
        passwords: who may enter.
        schema: whether the API is described, see `Guard`.
        surface: what may be asked for, and who may frame the page.
    """
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")  # before gradio is imported
    import gradio as gr

    server = gr.Server(
        title="medvlp reading room", openapi_url="/openapi.json" if schema else None, docs_url=None, redoc_url=None
    )

    _add_page(server, room)
    _add_studies(server, room)
    _add_queue(server, room)
    stack = server.build_middleware_stack
    # Outermost, before gradio's own: what the guard refuses, nothing else sees.
    server.build_middleware_stack = lambda: Guard(  # type: ignore[method-assign]
        stack(), sessions=room.sessions, hosts=hosts, passwords=passwords, schema=schema, surface=surface
    )
    return server


def _add_page(server: gradio.Server, room: Room) -> None:
    """The page, its files and what it is told when it opens."""

    @server.get("/")
    def page() -> FileResponse:
        return FileResponse(WEB / "index.html", media_type="text/html; charset=utf-8")

    @server.get("/rr/web/{name}")
    def file(name: str) -> Response:
        path = WEB / name  # a plain name: the guard lets no ".." through
        kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}.get(path.suffix)
        if kind is None or not path.is_file():
            return _sentence(404, "There is nothing here.")
        return FileResponse(path, media_type=kind)

    @server.get("/rr/room.json")
    def described() -> JSONResponse:
        return JSONResponse(room.document)


def _add_studies(server: gradio.Server, room: Room) -> None:
    """Studies brought, opened, shown and forgotten."""

    async def answered(work: Awaitable[dict[str, Any] | None], *, missing: str = "") -> Response:
        try:
            found = await work
        except KeyError:
            if not missing:
                raise
            return _sentence(404, missing)
        except UserError as error:
            return _refused(error)
        except OSError as error:
            return _sentence(507, _UNWRITTEN.format(error.strerror))
        except ClientDisconnect:
            return Response(status_code=400)  # the tab was closed on its way: nobody reads this
        return Response(status_code=204) if found is None else JSONResponse(found)

    @server.post("/rr/studies")
    async def receive(request: Request) -> Response:
        framed = request.headers.get("content-type", "") == FRAMED
        return await answered(room.receive(_token(request), request.stream(), framed=framed))

    @server.post("/rr/look")
    async def look(request: Request) -> Response:
        return await answered(room.look(request.stream()))

    @server.post("/rr/samples/{number}")
    async def sample(request: Request, number: int) -> Response:
        work = run_in_threadpool(room.sample, _token(request), number)
        return await answered(work, missing="There is no such sample.")

    @server.post("/rr/archive/{listed}/{number}")
    async def fetched(request: Request, listed: str, number: int) -> Response:
        work = run_in_threadpool(room.fetched, _token(request), listed, number)
        return await answered(work, missing="There is no such study in the list: search again.")

    def values(request: Request, key: str, number: int, take: Callable[[Series], bytes]) -> Response:
        try:
            return Response(take(room.series(_token(request), key, number)), media_type="application/octet-stream")
        except (KeyError, IndexError):
            return _sentence(404, "There is no such picture in this session.")

    @server.get("/rr/studies/{key}/series/{number}/pixels/{first}/{last}")
    def pixels(request: Request, key: str, number: int, first: int, last: int) -> Response:
        return values(request, key, number, lambda series: series.pixels(first, last))

    @server.get("/rr/studies/{key}/series/{number}/colours/{frame}")
    def colours(request: Request, key: str, number: int, frame: int) -> Response:
        return values(request, key, number, lambda series: series.colours(frame))

    @server.delete("/rr/studies/{key}")
    def forget(request: Request, key: str) -> Response:
        room.sessions.forget(_token(request), key)
        return Response(status_code=204)

    @server.post("/rr/close")
    def close(request: Request) -> Response:
        room.sessions.leave(_token(request))
        return Response(status_code=204)

    @server.get("/rr/alive")
    def alive() -> JSONResponse:
        return JSONResponse({"files": room.files})  # that the session lives, the guard has seen


def _add_queue(server: gradio.Server, room: Room) -> None:
    """What a model is asked, one call after the other."""
    import gradio as gr
    from fastapi import Depends, HTTPException

    def findings(study: str, series: int, model: int, request: gr.Request) -> dict:
        return _safely(room.findings, _session(request), study, series, model)

    def where(study: str, series: int, model: int, asked: str, method: str, request: gr.Request) -> dict:
        return _safely(room.where, _session(request), study, series, model, asked, method)

    def slices(study: str, series: int, model: int, request: gr.Request) -> dict:
        return _safely(room.slices, _session(request), study, series, model)

    def ask(study: str, series: int, model: int, sentence: str, request: gr.Request) -> dict:
        return _safely(room.ask, _session(request), study, series, model, sentence)

    def question(study: str, series: int, model: int, question: str, request: gr.Request) -> dict:
        return _safely(room.question, _session(request), study, series, model, question)

    def check_report(study: str, series: int, model: int, text: str, request: gr.Request) -> dict:
        return _safely(room.check_report, _session(request), study, series, model, text)

    def similar(study: str, series: int, model: int, sentence: str, k: int, request: gr.Request) -> dict:
        return _safely(room.similar, _session(request), study, series, model, sentence, k)

    def export(study: str, series: int, model: int, kind: str, view: dict, send: bool, request: gr.Request) -> dict:
        return _safely(room.export, _session(request), study, series, model, kind, view, send)

    def archive(patient: str, date: str, request: gr.Request) -> dict:
        return _safely(room.listed, _session(request), patient, date)

    async def checked(request: Request) -> None:
        """Refuse what is no call, before gradio does: it writes the values, a report among them, into the log."""
        if request.method != "POST" or (name := request.path_params.get("api_name")) is None:
            return
        if name not in calls:
            raise HTTPException(404, f"There is no function {name}: choose {', '.join(calls)}.")
        wanted = [*calls[name].__annotations__.items()][:-2]  # all but the request, and what it gives
        try:
            given = [type(value).__name__ for value in (await request.json())["data"]]
        except (LookupError, TypeError, ValueError):
            given = []
        if given != [kind for _, kind in wanted]:
            listed = ", ".join(f"{each} ({kind})" for each, kind in wanted)
            raise HTTPException(422, f"{name} takes these as data, a list in this order: {listed}.")

    every = (findings, where, slices, ask, question, check_report, similar, export, archive)
    calls = {each.__name__: each for each in every}
    server.router.dependencies.append(Depends(checked))
    for name, function in calls.items():
        function.__annotations__["request"] = gr.Request  # gradio looks for the class, not its name
        server.api(function, name=name, concurrency_id="model", concurrency_limit=1)


def _sentence(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)


def _refused(error: UserError) -> JSONResponse:
    if isinstance(error, UnreadableImage):
        return _sentence(422, f"This cannot be read: {error.detail}; {error.hint}.")
    return _sentence(413 if isinstance(error, TooLarge) else 422, str(error))


def _token(request: Request) -> str:
    return request.scope["reading_room"]


def _session(request: gradio.Request) -> str:
    assert request.request is not None  # gradio leaves it out only where it makes up a request itself
    return request.request.scope["reading_room"]


def _safely(function: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Return what a function gives, or a sentence; what went wrong inside is logged by its kind, never its values."""
    try:
        return function(*arguments)
    except UnreadableImage as error:
        return {"error": f"The model cannot read this: {error.detail}; {error.hint}."}
    except UserError as error:
        return {"error": str(error)}
    except KeyError:
        return {"error": "This study is no longer in the session: open it again."}
    except Exception as error:
        _LOG.error("%s failed: %s at %s", function.__name__, type(error).__name__, place_of(error))
        failed = "The model failed on this; nothing was shown. The server's log says where."
        return {"error": _UNWRITTEN.format(error.strerror) if isinstance(error, OSError) else failed}


def place_of(error: Exception) -> str:
    """Return file and line where something went wrong: all that a log may say of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
