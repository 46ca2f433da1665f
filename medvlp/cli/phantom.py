"""``medvlp phantom``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the hospital.")],
    patients: Annotated[int, typer.Option(min=1, help="Synthetic patients, each with 1 to 4 studies.")] = 200,
    modality: Annotated[Literal["cxr", "ct"], typer.Option(help="Radiographs (DICOM) or CT (NIfTI).")] = "cxr",
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    image_size: Annotated[
        int, typer.Option(min=64, max=2048, help="Height of a radiograph in pixels; of a CT slice half of it.")
    ] = 256,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Write a synthetic hospital: files, reports and the truth. It proves the machinery, never clinical performance."""
    from medvlp.core.files import check_place
    from medvlp.core.progress import progress
    from medvlp.phantom.cohort import make_cohort

    check_place(out)
    with progress("Making the hospital", unit="studies") as tell:
        summary = make_cohort(
            out, patients=patients, modality=modality, seed=seed, image_size=image_size, workers=workers, progress=tell
        )
    typer.echo(f"{out}: {summary.patients} patients, {summary.studies} studies, {summary.images} images, synthetic.")
