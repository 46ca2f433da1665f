"""``medvlp convert``."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[
        Path, typer.Argument(help="File, folder or hub name of another project, or name of starter weights.")
    ],
    name: Annotated[
        str, typer.Option("--from", help="Its form: transformers, medslip ...; `medvlp components zoo` lists all.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of the importer, such as encoder.path=FOLDER.")
    ] = None,
) -> None:
    """Convert another project's checkpoint to a bundle. Every weight must find its place."""
    from medvlp.answers.asking.model import VisionLanguageModel
    from medvlp.config.yaml import override
    from medvlp.core.files import check_replaced
    from medvlp.models.bundle import save_bundle
    from medvlp.zoo import convert as run

    named = [Path(each.partition("=")[2]) for each in options or ()]  # wise's start, say; of no path a harmless one
    check_replaced(out, mark="MANIFEST.sha256", inputs=[source, *named])
    bundle = run(source, name=name, options=reduce(override, options or (), {}))
    VisionLanguageModel(bundle)  # what no command could load is not written
    save_bundle(out, bundle)
    size = sum(parameter.numel() for parameter in bundle.model.parameters())
    typer.echo(f"{out}: {size:,} parameters, {len(bundle.labels)} findings.")
