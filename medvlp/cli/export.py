"""``medvlp export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    to: Annotated[str, typer.Option(help="Form: transformers, open_clip, timm, monai, onnx or openvino.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Write a bundle's towers in the form of another library. Says what that form cannot hold."""
    from medvlp.core.files import check_replaced
    from medvlp.models.bundle import load_bundle
    from medvlp.zoo.exports import export as run

    check_replaced(out, mark=None, inputs=[model])
    behind = run(load_bundle(model), to=to, out=out)
    typer.echo(f"{out}: in the form of {to}.")
    for each in behind:
        typer.echo(f"It does not hold {each}.")
