"""``medvlp quantise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quantise(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest with a column split: its training part calibrates.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    records: Annotated[int, typer.Option(min=1, help="Training records that calibrate, evenly over the part.")] = 200,
    root: Annotated[Path | None, typer.Option(help="Folder of the images; default: as the manifest says.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 2,
) -> None:
    """Add towers in 8 bits to a bundle, for --backend int8. Says what they change on validation patients."""
    from medvlp.runs.quantise import quantise as run

    made = run(model, manifest, out=out, root=root, records=records, workers=workers)
    typer.echo(f"{out}: {made.summary()}")
