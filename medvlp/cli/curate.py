"""``medvlp data curate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def curate(
    manifest: Annotated[Path, typer.Argument(help="Manifest, or CSV with its column names.")],
    rule: Annotated[str, typer.Option(help="Component of curation: metaclip, align, realsyn.")],
    out: Annotated[Path, typer.Option(help="Manifest of the records that stay, Parquet.")],
    part: Annotated[str | None, typer.Option(help="Only records of this split; the others stay.")] = None,
    options: Annotated[list[str] | None, typer.Argument(help="Options of the rule: key.path=value ...")] = None,
) -> None:
    """Choose the records of a pool that are worth training on; those left out are listed with their reason."""
    from medvlp.core.progress import progress
    from medvlp.runs.curate import curate as curated

    with progress("Choosing", unit="records") as tell:
        done = curated(manifest, out, rule=rule, options=options or [], part=part, progress=tell)
    typer.echo(f"{out}: {len(done.manifest)} records.")
    for reason, count in sorted(done.left_out.items()):
        typer.echo(f"left out: {count} {reason}")
    typer.echo(f"{done.listed}: which.")
