"""``medvlp data deidentify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def deidentify(
    source: Annotated[
        Path, typer.Argument(help="Folder, file or archive: DICOM, NIfTI, tables and texts.", metavar="IN")
    ],
    out: Annotated[Path, typer.Argument(help="A new folder; files get new names in it.")],
    dates: Annotated[
        Literal["shift", "remove", "retain"], typer.Option(help="Shifted by days of the patient's own, or else.")
    ] = "shift",
    retain: Annotated[
        str, typer.Option(help="What stays, with commas: uids, patient (sex, age, size), device, institution.")
    ] = "",
    clean_descriptors: Annotated[
        bool, typer.Option("--clean-descriptors", help="Keep descriptions and report text, less what identifies.")
    ] = False,
    pixels: Annotated[
        Literal["mask", "flag", "keep"],
        typer.Option(help="Burned-in text: paint it over, leave such files out, or do not look."),
    ] = "mask",
    key: Annotated[Path | None, typer.Option(help="Key file, made if absent; default: this installation's.")] = None,
    keep_column: Annotated[list[str] | None, typer.Option(help="Column of tables that is copied as it is.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that clean; default: one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Write a copy without what identifies patients. A report says what was done, by PS3.15 Annex E.

    Exit code 3: files were left out, which the private list beside OUT names with the reason.
    """
    from dataclasses import asdict

    from medvlp.core.errors import UserError
    from medvlp.core.progress import progress
    from medvlp.data.deidentify.folder import deidentify_folder
    from medvlp.data.parallel import usual_workers
    from medvlp.io.deidentify.profile import Profile

    retained = {word.strip() for word in retain.split(",") if word.strip()}
    if not retained <= {"uids", "patient", "device", "institution"}:
        raise UserError(f"--retain {retain!r} is not known: choose of uids, patient, device, institution, with commas.")
    profile = Profile(
        dates=dates, uids="uids" in retained, patient="patient" in retained, device="device" in retained,
        institution="institution" in retained, descriptors=clean_descriptors, pixels=pixels,
    )  # fmt: skip
    with progress("De-identifying", unit="files") as tell:
        done = deidentify_folder(
            source, out, profile=profile, key_file=key, keep_columns=keep_column or [],
            workers=usual_workers(workers), progress=tell,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str, ensure_ascii=False))
    else:
        typer.echo(f"{out}: {done.written} files, {done.masked} with text painted over; see {done.report.name} in it.")
        typer.echo(f"{done.journal}: which file became which. It names patients: keep it, never give it away.")
        if done.left:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.left.items()))
            typer.echo(f"Left out, see there: {reasons}.")
    if done.left:
        raise typer.Exit(3)
