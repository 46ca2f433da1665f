"""``medvlp data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Index cohorts and check them.", no_args_is_help=True)


@app.command("list")
def list_layouts() -> None:
    """List the layouts that can be indexed."""
    from medvlp.core.registry import available

    for name in available("data/layouts"):
        typer.echo(name)


@app.command("index")
def index(
    name: Annotated[str, typer.Argument(help="Layout, see `medvlp data list`.")],
    root: Annotated[Path, typer.Argument(help="Folder as it was downloaded.")],
    out: Annotated[Path, typer.Option(help="Manifest, Parquet.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the layout: key.path=value ...")] = None,
) -> None:
    """Turn a folder into a manifest."""
    from medvlp.config.index import index_cohort

    manifest = index_cohort(name, root, options or [])
    manifest.save(out)
    typer.echo(f"{out}: {len(manifest)} records, columns {', '.join(manifest.names)}.")


@app.command("check")
def check(
    manifest: Annotated[Path, typer.Argument(help="Manifest or CSV with its column names.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Look for patients, studies and images that are in two splits; exit 0 clean, 3 leaks found."""
    from medvlp.data.manifest import Manifest
    from medvlp.data.split import check_split

    leaks = check_split(Manifest.load(manifest))
    if as_json:
        found = [{"kind": k.kind, "a": k.a, "b": k.b, "split_a": k.split_a, "split_b": k.split_b} for k in leaks]
        typer.echo(json.dumps(found))
    else:
        for leak in leaks:
            typer.echo(f"{leak.kind}: {leak.a} ({leak.split_a}) and {leak.b} ({leak.split_b})")
        typer.echo(f"{len(leaks)} leaks")
    if leaks:
        raise typer.Exit(3)


@app.command("label")
def label(
    reports: Annotated[Path, typer.Argument(help="CSV with the columns id and text.")],
    vocabulary: Annotated[
        str, typer.Option(help="nih14, chexpert14, padchest, vindr28, ct_rate18, openi_gold or phantom12.")
    ],
    out: Annotated[Path, typer.Option(help="CSV with id and one column a finding: 1, 0, -1 or blank.")],
    sections: Annotated[str, typer.Option(help="Sections that are read, with commas.")] = "findings,impression",
    evidence: Annotated[Path | None, typer.Option(help="Also write what was read, JSON Lines.")] = None,
) -> None:
    """Read reports and write their labels: 1 present, 0 absent, -1 uncertain, blank not mentioned."""
    from medvlp.core.progress import progress
    from medvlp.data.label_reports import label_reports

    with progress("Reading", unit="reports") as tell:
        done = label_reports(
            reports,
            out,
            vocabulary_name=vocabulary,
            sections=tuple(filter(None, map(str.strip, sections.split(",")))),
            evidence=evidence,
            progress=tell,
        )
    typer.echo(f"{out}: {done.reports} reports.")
    if done.empty or done.foreign:
        typer.echo(f"note: blank are {len(done.empty)} reports without text and {len(done.foreign)} not in English.")


@app.command("drift")
def drift(
    paths: Annotated[list[Path], typer.Argument(help="Image files, folders, or one manifest.")],
    presets: Annotated[tuple[str, str], typer.Option(help="Two presets.", metavar="A B")],
    model: Annotated[Path | None, typer.Option(help="A bundle whose embeddings are compared.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's images; default: as it says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write a page, one HTML file.")] = None,
) -> None:
    """Compare what two presets make of the same images."""
    from medvlp.core.files import write_text
    from medvlp.core.progress import progress
    from medvlp.evaluation.drift import compare_presets, drift_document
    from medvlp.evaluation.drift_files import image_files
    from medvlp.evaluation.page.drift import render_drift
    from medvlp.prediction.model import load

    files, patients = image_files(paths, root=root)
    loaded = None if model is None else load(model)
    with progress("Reading", unit="images") as tell:
        found = compare_presets(files, presets, patients=patients, model=loaded, progress=tell)
    if out is not None:
        write_text(out, render_drift(found))
    if as_json:
        typer.echo(json.dumps(drift_document(found), ensure_ascii=False))
        return
    for row in found.measures:
        value, low, high = ("-" if each is None else f"{each:.4f}" for each in (row.median, row.low, row.high))
        typer.echo(f"{row.measure:12}median {value}  95 % {low} to {high}  {row.n} images, {row.patients} patients")
    for note in found.notes:
        typer.echo(f"note: {note}")
    if found.left_out or found.turned:
        typer.echo(f"note: {len(found.left_out)} files left out, {found.turned} of another shape by one preset")
