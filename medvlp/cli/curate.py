"""``medvlp data curate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def curate(
    manifest: Annotated[Path, typer.Argument(help="Manifest, or CSV with its column names.")],
    rule: Annotated[str, typer.Option(help="Component of curation: metaclip, align, realsyn, semdedup.")],
    out: Annotated[Path, typer.Option(help="Manifest of the records that stay, Parquet.")],
    part: Annotated[str | None, typer.Option(help="Only records of this split; the others stay.")] = None,
    options: Annotated[list[str] | None, typer.Argument(help="Options of the rule: key.path=value ...")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read; default: one a core.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Count and decide on the machines of a Ray cluster.")] = False,
) -> None:
    """Choose the records of a pool that are worth training on. Those left out are listed with their reason."""
    from medvlp.core.progress import progress
    from medvlp.data.parallel import usual_workers
    from medvlp.runs.cluster import over_ray
    from medvlp.runs.curate import curate as curated

    spread = over_ray if ray else usual_workers(workers)
    with progress("Choosing", unit="records") as tell:
        done = curated(manifest, out, rule=rule, options=options or [], part=part, workers=spread, progress=tell)
    typer.echo(f"{out}: {done.records} records.")
    for reason, count in sorted(done.left_out.items()):
        typer.echo(f"left out: {count} {reason}")
    typer.echo(f"{done.listed}: which.")
