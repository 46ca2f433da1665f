"""``medvlp cache``."""

from __future__ import annotations

import typer

app = typer.Typer(help="The cache of prepared images. It holds patients' pixels.", no_args_is_help=True)


@app.command("clear")
def clear() -> None:
    """Delete all prepared images but those in use. They are made again when needed."""
    from medvlp.data.cache import cache_info, clear_cache

    freed = clear_cache()
    left = cache_info()
    rest = f" {left.bytes / 1e6:.1f} MB are in use by a running process and stay." if left.pools else ""
    typer.echo(f"Deleted {freed / 1e6:.1f} MB in {left.folder}.{rest}")
