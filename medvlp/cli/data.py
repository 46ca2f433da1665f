"""``medvlp data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medvlp.cli.check import check
from medvlp.cli.curate import curate
from medvlp.cli.deidentify import deidentify
from medvlp.cli.shard import shard
from medvlp.cli.split import split
from medvlp.cli.triplets import triplets

app = typer.Typer(help="Make cohorts: index, split, check, label, de-identify.", no_args_is_help=True)


@app.command("list")
def list_data(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List what can be indexed: public data sets, your own layouts."""
    from dataclasses import asdict

    from medvlp.data.catalogue import catalogue

    entries = catalogue()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False))
        return
    rows = [
        (e.name, ",".join(e.modality), e.access, e.title if e.layout else f"{e.title} (no layout)") for e in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        aligned = (f"{word:<{width}}" for word, width in zip(row[:3], widths, strict=True))
        typer.echo("  ".join([*aligned, row[3]]))


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(help="Data set or layout, see `medvlp data list`.")],
    as_json: Annotated[bool, typer.Option("--json", help="The card's facts, one JSON document.")] = False,
) -> None:
    """Show counts, splits and traps of a data set, with sources. It also says how to index it."""
    import shutil

    from medvlp.data.card_text import card_words, layout_words
    from medvlp.data.cards import load_card
    from medvlp.data.catalogue import card_of, layout_of

    card = card_of(name)
    width = min(110, max(60, shutil.get_terminal_size().columns - 1))
    if as_json:
        facts = {"layout": layout_of(name)} if card is None else load_card(card).model_dump(mode="json")
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        typer.echo(card_words(card, width=width) if card is not None else layout_words(layout_of(name), width=width))


@app.command("index")
def index(
    name: Annotated[str, typer.Argument(help="Data set or layout, see `medvlp data list`.")],
    root: Annotated[Path, typer.Argument(help="Folder as it was downloaded.")],
    out: Annotated[Path, typer.Option(help="Manifest, a .parquet file.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the layout: key.path=value ...")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Summary page, or a folder for it; default: beside the manifest.")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no summary page.")] = False,
    no_survey: Annotated[
        bool, typer.Option("--no-survey", help="Read tables only: open no image, find no unreadable one.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read; default: one a core.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Open the images on the machines of a Ray cluster.")] = False,
) -> None:
    """Turn a folder into a manifest and a page. Reads the tables, then opens every image once.

    Start it again after an interruption: what was read is remembered.
    """
    from medvlp.core.errors import UserError
    from medvlp.data.parallel import usual_workers
    from medvlp.data.readable import left_out_words
    from medvlp.runs.index import index_to_files

    if no_page and page is not None:
        raise UserError("--page and --no-page exclude each other: leave one of them out.")
    done = index_to_files(
        name,
        root,
        out,
        options or [],
        page=None if no_page else page or out.with_suffix(".html"),
        survey=not no_survey,
        workers=usual_workers(workers),
        ray=ray,
    )
    typer.echo(f"{out}: {len(done.manifest)} records, columns {', '.join(done.manifest.names)}.")
    for sentence in done.oddities:
        typer.echo(f"Mind: {sentence}")
    if done.quarantine is not None:
        typer.echo(f"{done.quarantine}: left out, because a file cannot be read: {len(done.quarantined)}.")
    if done.left_out_table is not None:
        typer.echo(f"{done.left_out_table}: {left_out_words(done.manifest)}.")
    if done.changed is not None:
        typer.echo(f"Against the manifest that was there: {done.changed}.")
    if done.page is not None:
        typer.echo(f"Open {done.page}")


app.command("split")(split)
app.command("check")(check)
app.command("deidentify")(deidentify)
app.command("curate")(curate)
app.command("shard")(shard)
app.command("triplets")(triplets)


@app.command("label")
def label(
    reports: Annotated[Path, typer.Argument(help="CSV with the columns id and text, or a manifest.")],
    vocabulary: Annotated[
        str, typer.Option(help="nih14, chexpert14, padchest, vindr28, ct_rate18, openi_gold or phantom12.")
    ],
    out: Annotated[Path, typer.Option(help="CSV with id and a column a finding; or a manifest with label.NAME.")],
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="Column of the CSV: id=COLUMN, text=COLUMN.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV: cp1252 where Windows wrote it.")] = "utf-8-sig",
    sections: Annotated[str, typer.Option(help="Sections that are read, with commas.")] = "findings,impression",
    evidence: Annotated[Path | None, typer.Option(help="Also write what was read, JSON Lines.")] = None,
) -> None:
    """Read reports and write their labels. They are 1 present, 0 absent, -1 uncertain, blank not mentioned."""
    from medvlp.core.files import check_outputs
    from medvlp.core.progress import progress
    from medvlp.data.label_reports import label_reports
    from medvlp.data.text_table import parse_columns
    from medvlp.runs.index import check_manifest_name

    if reports.suffix == ".parquet":
        check_manifest_name(out)
    check_outputs([out, *([] if evidence is None else [evidence])], inputs=[reports])
    with progress("Reading", unit="reports") as tell:
        done = label_reports(
            reports,
            out,
            vocabulary_name=vocabulary,
            columns=parse_columns(columns or []),
            encoding=encoding,
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
    presets: Annotated[tuple[str, str], typer.Option(help="Two presets, as dicom_voi_v1 mimic_jpg_v1.", metavar="A B")],
    model: Annotated[Path | None, typer.Option(help="A bundle whose embeddings are compared.")] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, auto, cuda, cuda:1, mps.")] = "cpu",
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's images; default: as it says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compare what two presets make of the same images."""
    from medvlp.answers.asking.model import load
    from medvlp.core.progress import progress
    from medvlp.evaluation.drift import compare_presets, image_files

    files, patients = image_files(paths, root=root)
    loaded = None if model is None else load(model, device=device)
    with progress("Reading", unit="images") as tell:
        found = compare_presets(files, presets, patients=patients, model=loaded, progress=tell)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for row in found["measures"]:
        value, low, high = ("-" if row[part] is None else f"{row[part]:.4f}" for part in ("median", "low", "high"))
        typer.echo(
            f"{row['measure']:12}median {value}  95 % {low} to {high}  {row['n']} images, {row['patients']} patients"
        )
    for note in found["notes"]:
        typer.echo(f"note: {note}")
    if found["left_out"] or found["turned"]:
        typer.echo(f"note: {len(found['left_out'])} files left out, {found['turned']} of another shape by one preset")
