"""``medvlp report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    source: Annotated[Path, typer.Argument(help="A run's folder, or a results.json.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
) -> None:
    """Write the page of a run or of results, one file, no network."""
    from medvlp.config.evaluate import write_page

    write_page(source, out)
    typer.echo(f"Open {out}")
