"""``medvlp embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["embed"]


def embed(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (Parquet, or CSV with its column names).")],
    out: Annotated[Path, typer.Option(help="Parquet file.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the images; default: as the manifest says.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 2,
) -> None:
    """Embed the images and reports of a manifest into a feature table."""
    from medvlp.config.evaluate import embed_manifest

    table = embed_manifest(model, manifest, root=root, workers=workers)
    table.save(out)
    left_out = table.meta["left_out"]
    told = f" Left out, because they cannot be read: {left_out}." if left_out else ""
    typer.echo(f"{out}: {len(table)} rows, columns {', '.join(table.columns)}.{told}")
