"""``medvlp compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    first: Annotated[Path, typer.Argument(help="A results.json with its cases beside it.")],
    second: Annotated[Path, typer.Argument(help="Another one on the same cases.")],
    out: Annotated[Path | None, typer.Option(help="The differences, a .json file of the form of results.")] = None,
    table: Annotated[
        list[Path] | None, typer.Option(help="Also write the table as .md, .tex or .csv; may be repeated.")
    ] = None,
    metric: Annotated[str, typer.Option(help="Of the table: auroc, average_precision, sensitivity, ...")] = "auroc",
    point: Annotated[
        str | None, typer.Option(help="Operating point or calibration of the table, for metrics that have one.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Whose cases. Default: test.")] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the cases that both have, where they are not the same.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples of patients.")] = 2000,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compare two results on the same patients. Differences are paired, with intervals and corrected p values."""
    from medvlp.core.errors import ConfigError
    from medvlp.core.files import check_outputs
    from medvlp.evaluation.compare import compare_results
    from medvlp.evaluation.results import load_result, result_text, write_result
    from medvlp.evaluation.tables import check_table_path, comparison_table, to_markdown, write_table

    if out is not None and out.suffix != ".json":
        raise ConfigError(f"The differences {out} are written as JSON: give --out a file name that ends in .json.")
    check_outputs([*([] if out is None else [out]), *(table or [])], inputs=[first, second])
    for path in table or []:
        check_table_path(path)
    found = compare_results(
        load_result(first), load_result(second), split=split, common=common, resamples=resamples, level=level, seed=seed
    )
    if out is not None:
        write_result(found, out)
    shown = comparison_table(found, metric=metric, point=point)
    for path in table or []:
        write_table(shown, path)
    typer.echo(result_text(found, indent=None) if as_json else to_markdown(shown), nl=False)
