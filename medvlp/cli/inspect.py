"""``medvlp inspect``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="A DICOM, PNG, JPEG, TIFF or NIfTI file, a folder of DICOM slices, or a zip or tar archive."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    member: Annotated[str | None, typer.Option(help="File in an archive that holds several.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture as a PNG file.")] = None,
) -> None:
    """Show what is in a file, and what reading it did."""
    from medvlp.io.inspection import inspect as look
    from medvlp.io.png import write_png
    from medvlp.io.read import read_image

    found = look(path, member=member)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    elif "unreadable" in found:
        print(f"medvlp: {path} cannot be read ({found['unreadable']}): {found['hint']}", file=sys.stderr)
    else:
        for key in ("kind", "shape", "spacing", "steps", "warnings", "meta"):
            typer.echo(f"{key:9}{_plain(found.get(key))}")
        if found["kind"] == "image":
            _show(path, member)
    if "unreadable" in found:
        raise typer.Exit(2)
    if png is not None and found["kind"] == "image":
        write_png(read_image(path, member=member), png)


def _show(path: Path, member: str | None) -> None:
    """Draw the picture where standard output is a terminal that can; never into a pipe."""
    from medvlp.io.read import read_image
    from medvlp.io.thumbnail import can_show, thumbnail

    if can_show(sys.stdout):
        typer.echo(thumbnail(read_image(path, member=member, color="rgb"), columns=shutil.get_terminal_size().columns))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {item}" for name, item in value.items())
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        return "".join(f"\n  {item}" for item in value)
    return str(value)
