"""``medvlp data split``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def split(
    manifest: Annotated[Path, typer.Argument(help="Manifest, or CSV with its column names.")],
    rule: Annotated[
        str,
        typer.Option(
            help="patient, study, site, time, stratified, kfold, held_out, ids, or a published one: official."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Manifest with the split, Parquet.")] = None,
    ids: Annotated[Path | None, typer.Option(help="Also write the lists of ids: .json with its hash, or .csv.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another split; default: 0.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Default: train=.7,validate=.1,test=.2")] = None,
    card: Annotated[str | None, typer.Option(help="Data card of a published split.")] = None,
    share: Annotated[float | None, typer.Option(help="Keep this share of the training patients: 0.01, 0.1.")] = None,
    per_class: Annotated[int | None, typer.Option(help="Keep so many training patients of each class.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the images; default: as the manifest says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    options: Annotated[list[str] | None, typer.Argument(help="Options of the rule: key.path=value ...")] = None,
) -> None:
    """Split a cohort and print what is in each part."""
    from dataclasses import asdict

    from medvlp.core.files import check_outputs
    from medvlp.data.splits import part_facts, part_table, split_hash
    from medvlp.runs.index import check_manifest_name
    from medvlp.runs.split import split_cohort

    if out is not None:
        check_manifest_name(out)
    check_outputs([each for each in (out, ids) if each is not None], inputs=[manifest])
    done = split_cohort(
        manifest,
        rule=rule,
        root=root,
        card=card,
        seed=seed,
        fractions=fractions,
        share=share,
        per_class=per_class,
        options=options or [],
    )
    if out is not None:
        done.manifest.save(out)
    if ids is not None:
        done.split.save(ids)
    facts, name, digest = part_facts(done.manifest), done.split.name, split_hash(done.manifest)
    if as_json:
        found = {"name": name, "hash": digest, "notes": done.notes, "parts": [asdict(part) for part in facts]}
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    typer.echo(part_table(facts))
    for sentence in done.notes:
        typer.echo(f"note: {sentence}")
    written = ", ".join(str(each) for each in (out, ids) if each is not None)
    typer.echo(f"split {name}, hash {digest}, {f'in {written}' if written else 'written nowhere: say --out FILE'}")
