"""``medvlp adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def adapt(
    images: Annotated[Path, typer.Option(help="Folder of the films.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV with path, patient_id and a column a finding: 1 present, 0 absent, -1 uncertain, blank unknown."
        ),
    ],
    model: Annotated[Path, typer.Option(help="A bundle.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: bundle, results, page.")],
    minutes: Annotated[
        float, typer.Option(min=0, help="After so many no further adapter is begun; the first is always tried.")
    ] = 15.0,
    folds: Annotated[int, typer.Option(min=2, help="Of the training patients, on which adapters are chosen.")] = 5,
    sensitivity: Annotated[
        float | None, typer.Option(help="Wanted of a threshold, such as 0.95; chosen on validation patients.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Of the place where it will be used, for predictive values.")
    ] = None,
    test_labels: Annotated[
        Path | None, typer.Option(help="Films that are judged, a table like --labels: train here, test there.")
    ] = None,
    test_images: Annotated[Path | None, typer.Option(help="Their folder; default: --images.")] = None,
    one_patient_per_image: Annotated[
        bool, typer.Option("--one-patient-per-image", help="The table names no patients: each film is another one.")
    ] = False,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Mark films that stand on two sides instead of refusing them.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Of a CSV: cp1252 where Windows wrote it.")] = "utf-8-sig",
    adapter: Annotated[
        list[str] | None, typer.Option(help="Try these, in this order; default: all but grip, from cheap to dear.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split, folds and bootstrap.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 2,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, auto, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Adapt a model to labelled films. Check, split by patient, choose an adapter, release a bundle, judge it once.

    Start it again after an interruption: features and tried adapters are found again, the bundle is written anew.
    """
    from medvlp.core.errors import UserError
    from medvlp.runs.adapt import AdaptOptions
    from medvlp.runs.adapt import adapt as run
    from medvlp.runs.adapt_choice import ADAPTERS

    for name, value in (("--sensitivity", sensitivity), ("--prevalence", prevalence)):
        if value is not None and not 0 < value < 1:
            raise UserError(f"{name} {value:g} is no share between 0 and 1: give one such as 0.9.")
    if test_images is not None and test_labels is None:
        raise UserError("--test-images has no --test-labels: name the table of the films that are judged.")
    done = run(
        AdaptOptions(
            images=images,
            labels=labels,
            model=model,
            out=out,
            test_images=test_images,
            test_labels=test_labels,
            minutes=minutes,
            folds=folds,
            adapters=tuple(adapter or ADAPTERS),
            sensitivity=sensitivity,
            prevalence=prevalence,
            one_patient_per_image=one_patient_per_image,
            allow_leaks=allow_leaks,
            encoding=encoding,
            seed=seed,
            workers=workers,
            device=device,
        )
    )
    typer.echo(f"Open {done.page}; the model is {done.bundle}.")
