"""``medvlp report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[Path, typer.Argument(help="A run's folder, a results.json, or a suite's folder.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    study: Annotated[
        Path | None,
        typer.Option(
            help="YAML of what a run cannot know (funding, ethics, link ...): completes checklists and cards."
        ),
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Also write a model card for a hub, with these numbers.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write the run's pictures as one PNG file.")] = None,
) -> None:
    """Write the page of a run, of results, or of a suite. One file, no network; a suite beside what others report."""
    from medvlp.core.errors import UserError
    from medvlp.core.files import check_outputs, write_text
    from medvlp.evaluation.run_files import own_files
    from medvlp.pages.checklist import read_study
    from medvlp.pages.run_folder import read_run, write_report_page

    read = [source, *own_files(source), *([] if study is None else [study])]
    check_outputs([out, *(path for path in (sheet, card) if path is not None)], inputs=read)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UserError(f"The pictures {sheet} are written as PNG: give --sheet a file name that ends in .png.")
    facts = {} if study is None else read_study(study)
    if card is not None:
        from medvlp.pages.hub_card import hub_card

        write_text(card, hub_card(read_run(source, study=facts)))
        typer.echo(f"{card}: the card for a model hub.")
    write_report_page(source, out, study=facts)
    if sheet is not None:
        from medvlp.pages.sheet import write_sheet

        write_sheet(source, sheet)
        typer.echo(f"{sheet}: the pictures, planted boxes beside heat maps.")
    typer.echo(f"Open {out}")
