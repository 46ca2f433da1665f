"""``medvlp doctor``."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show versions, device, decoders and the cache: what to paste into a bug report. Nothing in it names a patient."""
    from medvlp.runs.doctor import checks

    for name, value in checks():
        typer.echo(f"{name:24}{value}")
