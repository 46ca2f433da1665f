"""``medvlp data triplets``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from medvlp.text.medslip_matrix import MedslipMatrix

_SECTIONS, _ENCODING = "findings,impression", "utf-8-sig"


def triplets(
    reports: Annotated[Path, typer.Argument(help="CSV with columns id and text, or RadGraph's JSON.")],
    out: Annotated[Path, typer.Option(help="JSON Lines, one study a line.")],
    matrix: Annotated[Path | None, typer.Option(help="Also the 51 x 75 matrices, .npz.")] = None,
    medslip: Annotated[
        Path | None,
        typer.Option(help="Also a folder in MeDSLIP's layout: .npy and a JSON list for each split of the CSV."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="Column of a CSV: FIELD=COLUMN, e.g. text=Report.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="CSV: cp1252 where Windows wrote it.")] = _ENCODING,
    sections: Annotated[str, typer.Option(help="CSV: sections that are read, comma between.")] = _SECTIONS,
    vocabulary: Annotated[
        str | None, typer.Option(help="CSV: label list whose labels are the observations; default: all findings.")
    ] = None,
    uncertain: Annotated[
        Literal["ignore", "negative", "positive", "soft"], typer.Option(help="Uncertain observations in the matrix.")
    ] = "ignore",
    both_sides: Annotated[bool, typer.Option(help="CSV: bilateral findings stand in both sides' rows.")] = False,
    linked_observations: Annotated[
        bool, typer.Option(help="RadGraph: observations share the place of those they are linked to.")
    ] = False,
    nested_modifiers: Annotated[bool, typer.Option(help="RadGraph: modifiers of modifiers count.")] = False,
    across_sentences: Annotated[bool, typer.Option(help="RadGraph: relations between sentences count.")] = False,
    lemmas: Annotated[
        Literal["own", "spacy"], typer.Option(help="RadGraph: lemmas of the built-in table, or of spaCy as published.")
    ] = "own",
    midlung_right: Annotated[bool, typer.Option(help="RadGraph: know the right midlung as the left one.")] = False,
) -> None:
    """Turn reports into (anatomy, observation, presence) triplets. With all options off they are as published."""
    from medvlp.core.errors import UserError
    from medvlp.core.files import check_outputs
    from medvlp.core.progress import progress
    from medvlp.data.report_triplets import studies_of_radgraph, studies_of_table
    from medvlp.data.text_table import parse_columns
    from medvlp.text.lemmas import spacy_lemmatiser
    from medvlp.text.medslip_matrix import matrix_of
    from medvlp.text.triplet_files import write_triplets

    of_csv = {"--column": columns, "--sections": sections != _SECTIONS, "--vocabulary": vocabulary}
    of_csv |= {"--both-sides": both_sides, "--encoding": encoding != _ENCODING}
    of_graphs = {
        "--linked-observations": linked_observations, "--nested-modifiers": nested_modifiers,
        "--across-sentences": across_sentences, "--midlung-right": midlung_right, "--lemmas": lemmas != "own",
    }  # fmt: skip
    graphs = reports.suffix.lower() == ".json"
    _refuse_given(of_csv if graphs else of_graphs, f"{'a CSV' if graphs else 'RadGraph'}, not of {reports}")
    if matrix is None and medslip is None:
        sides = {"--both-sides": both_sides, "--midlung-right": midlung_right}
        of_matrices = {"--uncertain": uncertain != "ignore", "--lemmas": lemmas != "own", **sides}
        _refuse_given(of_matrices, "matrices, and there are none without --matrix or --medslip")
    outputs = [out, matrix, None if medslip is None else medslip / "train.json"]
    check_outputs([path for path in outputs if path is not None], inputs=[reports])
    if matrix is not None and matrix.suffix != ".npz":
        raise UserError(f"The matrix file {matrix} does not end in .npz: name it {matrix.with_suffix('.npz').name}.")
    other_lemmas = spacy_lemmatiser() if lemmas == "spacy" else None  # missing: known before anything is read
    with progress("Reading", unit="reports") as tell:
        if graphs:
            read = studies_of_radgraph(
                reports,
                linked_observations=linked_observations,
                nested_modifiers=nested_modifiers,
                across_sentences=across_sentences,
                progress=tell,
            )
        else:
            wanted = tuple(filter(None, (name.strip() for name in sections.split(","))))
            how = {"columns": parse_columns(columns or []), "encoding": encoding, "vocabulary": vocabulary}
            read = studies_of_table(reports, **how, sections=wanted, progress=tell)
    write_triplets(read.studies, out)
    typer.echo(f"{out}: {len(read.studies)} studies, {sum(len(each.triplets) for each in read.studies)} triplets.")
    for reason, lines in read.skipped.items():
        shown = ", ".join(map(str, lines[:10])) + (" ..." if len(lines) > 10 else "")
        typer.echo(f"Left out, {reason}: {len(lines)} rows (lines {shown}).")
    if matrix is None and medslip is None:
        return
    found = matrix_of(
        read.studies, uncertain=uncertain, midlung_right=midlung_right, both_sides=both_sides, lemmas=other_lemmas
    )
    _write(found, matrix, medslip, read.images)


def _refuse_given(options: Mapping[str, object], source: str) -> None:
    from medvlp.core.errors import UserError

    for option, given in options.items():
        if given:
            raise UserError(f"{option} is an option of {source}: leave it out.")


def _write(
    found: MedslipMatrix, matrix: Path | None, medslip: Path | None, images: Mapping[str, Mapping[str, str]]
) -> None:
    from medvlp.text.medslip_matrix import save_matrix, save_medslip_folder

    if matrix is not None:
        save_matrix(found, matrix)
        typer.echo(f"{matrix}: {found.values.shape[0]} matrices of {found.values.shape[1]} x {found.values.shape[2]}.")
    if medslip is not None:
        save_medslip_folder(found, medslip, images=images)
        lists = ", ".join(f"{split} {len(paths)}" for split, paths in images.items())
        typer.echo(f"{medslip}: {len(found.study_ids)} studies, images: {lists or 'none named'}.")
