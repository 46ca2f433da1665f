"""``medvlp gate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def gate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="Where the bundle goes; default: RUN/bundle is replaced.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Share of pictures of its own kind to flag; default: as in the run, 0.02.")
    ] = None,
) -> None:
    """Give a bundle a gate, in the place of one that it has. By it a model abstains from pictures of another kind."""
    from medvlp.runs.gate import add_gate

    made = add_gate(run, out=out, rate=rate)
    typer.echo(
        f"{out or run / 'bundle'}: abstains from pictures unlike its {made.counts[0]} of training; flags "
        f"{100 * made.rate:g}% of its own kind, by {made.counts[1]} validation pictures."
    )
