"""``medvlp evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of one in configs/; a suite lists runs.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key.path=value ...; of a suite: model=, out=, roots.NAME=FOLDER.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Of a suite: data sets at a time, each a process.")] = 1,
) -> None:
    """Judge a model on a data set, or on all of a suite: results.json with intervals, per-case predictions, a page.

    A suite goes on where it was stopped: what is judged is not judged again unless bundle, data or configuration
    changed. A run that fails is listed and the rest go on; then the exit code is 1.
    """
    from medvlp.runs.grid.suite import is_suite

    if is_suite(config):
        _suite(config, overrides or [], jobs)
        return
    from medvlp.runs.evaluate import evaluate as run
    from medvlp.runs.evaluate import load_evaluation

    done = run(load_evaluation(config, overrides or []), say=lambda text: typer.echo(text, err=True))
    for result in done.found.values():
        for flag in result.flags:
            typer.echo(f"Flag, {result.title or result.name}: {flag.sentence}")
    typer.echo(f"Open {done.page}; the numbers are in {done.results}.")


def _suite(config: str, words: list[str], jobs: int) -> None:
    from medvlp.core.errors import UserError
    from medvlp.runs.grid.suite_table import evaluate_suite

    done = evaluate_suite(config, words, jobs=jobs, say=typer.echo)
    for line in done.left_out:
        typer.echo(f"Left out, {line}", err=True)
    if done.page is not None:
        typer.echo(f"Open {done.page}; the numbers are beside it in table.json, table.md and table.csv.")
    elif not done.failed:
        raise UserError("No data set of this suite is there: say where one lies, roots.NAME=FOLDER.")
    for line in done.failed:
        typer.echo(line, err=True)
    if done.failed:
        typer.echo(
            f"medvlp: {len(done.failed)} of {len(done.suite.lines)} runs failed: mend what is said above and start the "
            "same command again; finished runs are kept.",
            err=True,
        )
        raise typer.Exit(1)
