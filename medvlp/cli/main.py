"""The command ``medvlp``. A user's mistake exits 2 with one sentence; a bug exits 1 with a traceback."""

from __future__ import annotations

import sys

import typer

from medvlp.cli import cache, data, doctor, embed, evaluate, inspect, phantom, predict, quickstart, report, train
from medvlp.core.errors import UserError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Train, adapt, evaluate and show vision-language models for medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("quickstart")(quickstart.quickstart)
app.command("phantom")(phantom.phantom)
app.add_typer(data.app, name="data")
app.command("inspect")(inspect.inspect)
app.command("train")(train.train)
app.command("embed")(embed.embed)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except UserError as error:
        print(f"medvlp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
