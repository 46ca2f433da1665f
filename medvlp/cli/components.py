"""``medvlp components``."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def components(
    word: Annotated[
        str | None, typer.Argument(metavar="[KIND|NAME]", help="objectives, views, clip, objectives/clip ...")
    ] = None,
    by_method: Annotated[
        bool,
        typer.Option(
            "--methods", help="The field's methods by family instead: components, configuration, checks, gain."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List what can be named in a configuration. Each has its paper; of one, options, defaults, an example."""
    from dataclasses import asdict

    from medvlp.core.component_words import component_words, list_words, method_words
    from medvlp.core.components import KINDS, chosen, describe, entries
    from medvlp.core.errors import UserError
    from medvlp.core.methods import methods

    if by_method and word is not None:
        raise UserError(f"--methods lists all methods, and {word} is not looked up: leave one of them out.")
    if by_method:
        known = methods()
        typer.echo(json.dumps([asdict(each) for each in known], ensure_ascii=False) if as_json else method_words(known))
        return
    found = chosen(word) if word else tuple(entry for kind in KINDS for entry in entries(kind))
    if word is None or any(entry.name != word.rpartition("/")[2] for entry in found):
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False) if as_json else list_words(found))
        return
    described = [describe(entry.kind, entry.name) for entry in found]
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in described], ensure_ascii=False))
    else:
        typer.echo("\n\n".join(map(component_words, described)))
