"""``medvlp demo``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from medvlp.cli.quickstart import QUICK
from medvlp.core.errors import UserError

_MADE = Path("runs/quickstart/run/bundle")


def demo(
    bundles: Annotated[list[Path] | None, typer.Argument(help="Bundles, that training or convert wrote.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need --auth.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    auth: Annotated[Path | None, typer.Option(help="File of users, a line each; --password makes one.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Further host name under which it is reached.")] = None,
    index: Annotated[Path | None, typer.Option(help="Folder of similar cases, of medvlp embed --index.")] = None,
    backend: Annotated[str, typer.Option(help="Engine of the towers: torch, openvino, onnxruntime, int8.")] = "torch",
    device: Annotated[str, typer.Option(help="Where models run: cpu, auto, cuda, cuda:1, mps.")] = "cpu",
    dicomweb: Annotated[str | None, typer.Option(help="Root of an archive, to open from and send to.")] = None,
    dicomweb_auth: Annotated[Path | None, typer.Option(help="File with USER:PASSWORD of the archive.")] = None,
    audit: Annotated[Path | None, typer.Option(help="File of a sealed log of what was done; none without it.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Describe the API at /openapi.json.")] = False,
    password: Annotated[str | None, typer.Option(help="Ask for this user's password, print a line, leave.")] = None,
    explorer: Annotated[
        Path | None, typer.Option(help="Open the explorer instead: runs, results, errors below this folder.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --explorer: folder of the pictures; default: as manifests say.")
    ] = None,
) -> None:
    """Open the reading room, a viewer with what a model says. It shows radiographs, CT and MR; nothing is kept."""
    if explorer is None and root is not None:
        raise UserError("--root says where the explorer's pictures lie: add --explorer RUNS, or leave it out.")
    of_the_room = {"--index": index, "--dicomweb": dicomweb, "--audit": audit, "--schema": schema}
    of_the_room |= {"--device": device != "cpu", "--backend": backend != "torch"}
    for option in [option for option, given in of_the_room.items() if given and explorer is not None]:
        raise UserError(f"{option} is of the reading room, and the explorer has none: leave it or --explorer out.")
    if dicomweb is None and dicomweb_auth is not None:
        raise UserError("--dicomweb-auth is for an archive: add --dicomweb URL, or leave it out.")
    from medvlp.serving.launch import Options, open_room

    if password is not None:
        _print_line(password)
        return
    options = Options(
        bundles=tuple(bundles or ()), host=host, port=port, auth=auth, names=tuple(name or ()), index=index,
        backend=backend, device=device, dicomweb=dicomweb, dicomweb_auth=dicomweb_auth, audit=audit, schema=schema,
    )  # fmt: skip
    os.umask(0o077)  # whatever is written from here on is this user's alone
    if explorer is not None:
        from medvlp.serving.browse.launch import open_explorer

        open_explorer(explorer, options, root=root).wait(typer.echo)
        return
    open_room(options, offer=None if bundles else _offered).wait(typer.echo)
    typer.echo("The reading room is closed; nothing was kept.")


def _print_line(name: str) -> None:
    import secrets

    from medvlp.serving.guard import password_line

    if not name or ":" in name:
        raise UserError(f"A user name may not be empty or hold a colon, as {name!r} does: choose another.")
    given = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    typer.echo(password_line(name, given, salt=secrets.token_bytes(16)))


def _offered() -> tuple[Path, ...]:
    """The quick start's bundle, if there is one or the user wants one made; else none: the viewer works without."""
    if _MADE.is_dir():
        typer.echo(f"The model is {_MADE}.")
        return (_MADE,)
    config, patients, minutes = QUICK
    asked = sys.stdin.isatty() and sys.stdout.isatty()
    if not (asked and typer.confirm(f"No bundle was given. Make the quick start's now ({minutes})?")):
        typer.echo("No bundle: pictures are shown, nothing is said of them. `medvlp quickstart` makes a model.")
        return ()
    from medvlp.runs.quickstart import run_quickstart

    out = _MADE.parent.parent
    run_quickstart(out, seed=0, patients=patients, config=config, overrides=[])
    return (_MADE,)
