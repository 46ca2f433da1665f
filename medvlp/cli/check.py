"""``medvlp data check``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medvlp.data.leakage.check import Checked


_SHOWN = 20  # leaks of a kind on the terminal; --json lists all


def check(
    cohorts: Annotated[list[Path], typer.Argument(help="Manifests or CSV files.", metavar="MANIFEST_OR_CSV...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list of leaks on standard output.")] = False,
    notes: Annotated[Path | None, typer.Option(help="Also write what is no leak, JSON.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="Column of a CSV: FIELD=COLUMN, e.g. id.patient=PatientID.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV: cp1252 where Windows wrote it.")] = "utf-8-sig",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the images; default: as the file says, or its own.")
    ] = None,
    images: Annotated[bool, typer.Option(help="Open image files; without it equal paths alone tell.")] = True,
    near: Annotated[bool, typer.Option(help="Look for copies resized, compressed, inverted or cropped.")] = True,
    separate: Annotated[
        bool, typer.Option("--separate", help="Patient numbers of different files have nothing to do with each other.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read and compare; default: one a core.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Read and compare on a Ray cluster, whose machines share MEDVLP_CACHE.")
    ] = False,
) -> None:
    """Look for patients, studies and images that are on two sides. Notes shared reports; exits 0 if clean, 3 if not."""
    from medvlp.core.files import check_outputs, write_json
    from medvlp.core.progress import progress
    from medvlp.data.leakage.check import check_cohorts
    from medvlp.data.leakage.tables import open_cohort
    from medvlp.data.parallel import usual_workers
    from medvlp.data.text_table import parse_columns
    from medvlp.runs.cluster import over_ray

    check_outputs([] if notes is None else [notes], inputs=cohorts)
    wanted = parse_columns(columns or [])
    manifests = [open_cohort(path, root=root, columns=wanted, encoding=encoding) for path in cohorts]
    with progress("Comparing") as tell:
        found = check_cohorts(
            manifests,
            names=_names(cohorts),
            separate=separate,
            images=images,
            near=near,
            workers=over_ray if ray else usual_workers(workers),
            progress=tell,
        )
    if notes is not None:
        write_json(notes, {"notes": [asdict(note) for note in found.notes]})
    if as_json:
        plain = [{key: value for key, value in asdict(leak).items() if value} for leak in found.leaks]
        typer.echo(json.dumps(plain, ensure_ascii=False))
        for note in found.notes:
            typer.echo(f"note: {note.text}", err=True)
    else:
        _tell(found, near=near and images)
    if found.leaks:
        raise typer.Exit(3)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names, as long as they are different."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [f"{number}:{path}" for number, path in enumerate(paths, 1)]


def _tell(found: Checked, *, near: bool) -> None:
    from medvlp.data.leakage.leak import counts_of
    from medvlp.data.leakage.notes import ADVICE

    for kind, count in counts_of(found.leaks).items():
        typer.echo(f"{kind}: {count} leak{'s' if count != 1 else ''}. {ADVICE[kind]}")
        for leak in [leak for leak in found.leaks if leak.kind == kind][:_SHOWN]:
            detail = f": {leak.detail}" if leak.detail else ""
            typer.echo(f"  {leak.a} ({leak.split_a}) and {leak.b} ({leak.split_b}){detail}")
        if count > _SHOWN:
            typer.echo(f"  ... and {count - _SHOWN} more: --json lists all")
    advised: set[str] = set()
    for note in found.notes:
        typer.echo(f"note: {note.text}{'' if note.kind in advised else ' ' + ADVICE[note.kind]}")
        advised.add(note.kind)
    size = f"{found.records} records, {found.images} images{'' if near else ', copies not looked for'}"
    typer.echo(f"{len(found.leaks)} leak{'s' if len(found.leaks) != 1 else ''} in {size}.")
