"""``medvlp report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    source: Annotated[Path, typer.Argument(help="A run's folder, a results.json, or a suite's folder.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    sheet: Annotated[Path | None, typer.Option(help="Also write the run's pictures as one PNG file.")] = None,
) -> None:
    """Write the page of a run, of results, or of a suite with what others published, one file, no network."""
    from medvlp.core.files import check_outputs
    from medvlp.evaluation.page.run_folder import write_report_page

    check_outputs([out, *([] if sheet is None else [sheet])], inputs=[source])
    write_report_page(source, out)
    if sheet is not None:
        from medvlp.evaluation.page.sheet import write_sheet

        write_sheet(source, sheet)
        typer.echo(f"{sheet}: the pictures, planted boxes beside heat maps.")
    typer.echo(f"Open {out}")
