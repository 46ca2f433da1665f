"""``medvlp cache``."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(help="The cache of prepared images. It holds patients' pixels.", no_args_is_help=True)


@app.command("clear")
def clear() -> None:
    """Delete all prepared images; they are made again when needed."""
    from medvlp.data.cache import cache_info, clear_cache

    before = cache_info()
    clear_cache()
    typer.echo(f"Deleted {before.bytes / 1e6:.1f} MB in {before.folder}.")
