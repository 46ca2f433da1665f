"""``medvlp data shard``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def shard(
    manifest: Annotated[Path, typer.Argument(help="Manifest, or CSV with its column names.")],
    out: Annotated[Path, typer.Argument(help="A new folder; an interrupted run goes on in it.")],
    size: Annotated[int, typer.Option(min=1, help="MiB after which a shard is closed.")] = 1024,
    root: Annotated[Path | None, typer.Option(help="Folder of the images; default: as the manifest says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Copy a cohort's files into tar shards in WebDataset's form. They have an offset index and a manifest that trains.

    Identifiers, reports and files are copied as they are: run `medvlp data deidentify` first, if they are to leave.
    """
    from medvlp.core.progress import progress
    from medvlp.data.manifest import Manifest
    from medvlp.data.shards import shard_manifest

    with progress("Packing", unit="records") as tell:
        done = shard_manifest(Manifest.load(manifest, root=root), out, size=size << 20, progress=tell)
    if as_json:
        facts = {"manifest": str(done.manifest), "shards": done.shards, "records": done.records}
        typer.echo(json.dumps({**facts, "quarantined": len(done.quarantined)}))
        return
    shards = f"{done.shards} shard{'s' if done.shards != 1 else ''}"
    typer.echo(f"{done.manifest}: {done.records} records in {shards}; train on it as on any manifest.")
    if done.quarantined:
        typer.echo(f"{out / 'quarantine.csv'}: left out, because a file cannot be read: {len(done.quarantined)}.")
