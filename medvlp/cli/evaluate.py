"""``medvlp evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from medvlp.cli.sweep import end_grid, show_left_out


def evaluate(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of one in configs/; a suite lists runs.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key.path=value ...; of a suite: model= or models.LABEL=, out=, roots.NAME=FOLDER."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Of a suite: data sets at a time, each a process.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="Where the model runs: cpu, auto, cuda, cuda:1, mps; as device= says.")
    ] = None,
) -> None:
    """Judge a model on a data set, or on all of a suite. Writes results with intervals, per-case predictions, a page.

    A suite goes on where it was stopped: what is judged is not judged again unless bundle, data or configuration
    changed. A run that fails is listed and the rest go on; then the exit code is 1.
    """
    from medvlp.core.devices import choose_device
    from medvlp.core.errors import UserError
    from medvlp.runs.grid.suite import is_suite

    words = list(overrides or [])
    if device is not None:
        choose_device(device)  # of a suite, before its first run
        words.append(f"device={device}")
    if is_suite(config):
        from medvlp.runs.grid.table import evaluate_suite

        done = evaluate_suite(config, words, jobs=jobs)
        if done.page is None and not done.failed:
            show_left_out(done)
            raise UserError("No data set of this suite is there: say where one lies, roots.NAME=FOLDER.")
        end_grid(done, rest="")
        return
    if jobs > 1:
        raise UserError(f"--jobs is of a suite, and {config} is one evaluation: leave it out.")
    from medvlp.runs.evaluate import evaluate as run
    from medvlp.runs.evaluate import load_evaluation

    judged = run(load_evaluation(config, words))
    for result in judged.found.values():
        for flag in result.flags:
            typer.echo(f"Flag, {result.title or result.name}: {flag.sentence}")
    typer.echo(f"Open {judged.page}; the numbers are in {judged.results.parent}.")
