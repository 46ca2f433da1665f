"""Every command line of README and manual is one that the program takes: its options, and keys of the configuration."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import pytest
import typer

from medvlp.cli.main import app
from medvlp.config.tree import load_config
from medvlp.runs.evaluate import load_evaluation
from medvlp.runs.grid.suite import is_suite
from tests.docs.test_results import ROOT, load
from tests.test_readme import BLOCK, PAGES

# A command at the start of a line or behind another; what stands three spaces behind it explains it.
COMMAND = re.compile(r"(?:^|&& )(?:\.venv/bin/)?medvlp ((?:(?! {3}| &&).)+)", re.MULTILINE)
LINES = [
    (page, line)
    for page, text in PAGES.items()
    for kind, block in BLOCK.findall(text)
    if kind in ("sh", "text")
    for line in COMMAND.findall(block)
]


@cache
def program() -> Any:
    return typer.main.get_command(app)


def test_the_command_lines_of_the_manual_are_found() -> None:
    assert len(LINES) > 90
    assert ("docs/howto/reading_room.md", "demo runs/quickstart/run/bundle") in LINES


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_is_taken_with_its_options_and_its_keys(page: str, line: str) -> None:
    words, command, verb = shlex.split(line.partition(" > ")[0]), program(), ""
    while hasattr(command, "commands"):
        verb = words.pop(0)
        command = command.commands[verb]
    given = command.make_context(verb, words).params
    config, overrides = given.get("config") or "", given.get("overrides") or []
    settings = [word for word in (*overrides, *(given.get("options") or ())) if word != "..."]
    assert [word for word in settings if "=" not in word] == []  # as of a value with spaces that nobody quoted
    if "/" in config and verb == "train":
        load_config(config, overrides)
    elif "/" in config and verb == "evaluate" and not is_suite(config):
        load_evaluation(config, overrides)


def test_no_command_of_a_page_writes_over_what_another_showed() -> None:
    shown = re.compile(r"(?:data index|score) .*--out (\S+)\.\w+")  # each writes NAME.html beside it
    names = {(page, line, found[1]) for page, line in LINES if (found := shown.match(line))}
    assert len({(page, name) for page, _, name in names}) == len(names) >= 6


def test_what_a_shell_would_expand_stands_in_quotes() -> None:
    bare = re.compile(r"(?:^|[\s`])[a-z_.0-9]+=[{\[]")
    spans = [(page, code) for page, text in PAGES.items() for code in re.findall(r"`[^`\n]+`", text)]
    assert [each for each in (*LINES, *spans) if bare.search(each[1])] == []


def test_the_reference_says_defaults_and_what_is_allowed_as_the_help_does() -> None:
    page = load(ROOT / "docs" / "_make" / "reference.py").commands()
    phantom = page.partition("\n## medvlp phantom\n")[2].partition("\n## ")[0]
    assert "| `--modality <cxr\\|ct>` |" in phantom
    assert "[default: 0]" in phantom  # no flag that is off
    assert "[default: 256; 64<=x<=2048]" in phantom
    assert "| `--images / --no-images` |" in page
    assert "| `--version` |" in page.partition("\n## medvlp quickstart\n")[0]
