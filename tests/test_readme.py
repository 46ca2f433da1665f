"""What README and manual promise is there: the two first lines, configurations, commands, links, the objective."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import typer

import medvlp.objectives
from medvlp.cli.main import app
from medvlp.core import registry
from medvlp.core.components import describe
from medvlp.core.context import Context
from medvlp.core.keys import parse_key
from medvlp.core.parts import Part
from medvlp.core.resources import resource_folder
from medvlp.core.sample import Batch

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/**/*.md"))
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(README)


def test_the_first_two_blocks_are_one_shell_line_each() -> None:
    assert [kind for kind, _ in BLOCKS[:2]] == ["sh", "sh"]
    first, second = (text.splitlines() for _, text in BLOCKS[:2])
    assert len(first) == len(second) == 1
    assert first[0].endswith("medvlp quickstart --out runs/quickstart")
    assert "pytest" in second[0].split("&&")[-1]


def test_what_the_test_line_leaves_out_is_run_before_it() -> None:
    assert BLOCKS[1][1].rstrip().endswith('-m "not slow"')
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").split("\nstep ")
    assert [" -m slow " in step for step in steps[-2:]] == [True, False]
    assert 'bash -c "$line"' in steps[-1]


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 220
    assert len(README.encode()) <= 14_000


def test_shell_blocks_can_be_pasted() -> None:
    """No block of README or of docs/start holds a word that stands for something else."""
    pasted = {name: text for name, text in PAGES.items() if name == "README.md" or name.startswith("docs/start/")}
    lines = [
        line
        for text in pasted.values()
        for kind, block in BLOCK.findall(text)
        if kind == "sh"
        for line in block.splitlines()
    ]
    assert lines
    plain = [re.sub(r"OMP_NUM_THREADS|\"\$[A-Z0-9_]+\"", "", line) for line in lines]
    assert [line for line in plain if re.search(r"\b[A-Z][A-Z_]{2,}\b|<|\.\.\.", line)] == []


def test_the_table_of_configurations_is_that_of_the_folder() -> None:
    folder = resource_folder("configs")
    kinds = ("pretrain", "finetune", "evaluate", "probe", "sweep")
    shipped = {f"{kind}/{path.name}" for kind in kinds for path in (folder / kind).glob("*.yaml")}
    named = re.compile(rf"(?:{'|'.join(kinds)})/\w+\.yaml")
    assert set(named.findall(PAGES["docs/howto/configure.md"])) == shipped
    assert {name for text in PAGES.values() for name in named.findall(text)} <= shipped


def test_every_command_is_named_and_every_name_is_a_command() -> None:
    known = set(_commands(typer.main.get_command(app)))
    top = {words.split()[0] for words in known}
    table = README.partition("## Commands")[2].partition("\n## ")[0]
    assert set(re.findall(r"`medvlp ([a-z]+)`", table)) == top
    (data,) = re.findall(r"`medvlp data` \((.*?)\)", table)
    assert {f"data {word}" for word in re.findall(r"`(\w+)`", data)} == {w for w in known if w.startswith("data ")}
    full = PAGES["docs/howto/commands.md"]
    assert {word for word in top if f"`medvlp {word}" in full} == top
    for name, text in PAGES.items():
        blocks = "".join(block for kind, block in BLOCK.findall(text) if kind in ("sh", "text"))
        used = {*re.findall(r"(?:bin/|`)medvlp ([a-z]+)", text), *re.findall(r"^medvlp ([a-z]+)", blocks, re.MULTILINE)}
        assert used <= top, name


def _commands(command: object, words: tuple[str, ...] = ()) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from _commands(each, (*words, name))
    else:
        yield " ".join(words)


@pytest.mark.parametrize("name", PAGES)
def test_linked_files_and_headings_are_there(name: str) -> None:
    made = {"docs/reference/commands.md", "docs/reference/components.md"}  # by mkdocs, with the rest of the reference
    made |= {f"docs/reference/{name}.md" for name in ("configuration", "methods", "python")}
    missing = []
    for link in re.findall(r"\]\(([^):]+)\)", PAGES[name]):
        path, _, heading = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if target.relative_to(ROOT).as_posix() not in made:
            there = target.is_file() and (not heading or heading in _headings(target.read_text(encoding="utf-8")))
            missing += [] if there else [link]
    assert missing == []


def _headings(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w]+", "-", title.lower()).strip("-") for title in titles}


@pytest.fixture
def folder_of_objectives(tmp_path: Path) -> Iterator[Path]:
    """One more folder in which objectives are looked for."""

    def forget() -> None:
        sys.modules.pop("medvlp.objectives.align", None)
        for each in (registry.available, registry.component, registry.schema):
            each.cache_clear()

    forget()
    medvlp.objectives.__path__.append(str(tmp_path))
    yield tmp_path
    medvlp.objectives.__path__.remove(str(tmp_path))
    forget()


def test_the_objective_in_one_file_is_what_it_says(folder_of_objectives: Path) -> None:
    (source,) = (text for kind, text in BLOCKS if kind == "python" and "(Objective)" in text)
    manual = BLOCK.findall(PAGES["docs/contributing/objective.md"])
    assert source in [text for kind, text in manual if kind == "python"]
    (folder_of_objectives / "align.py").write_text(source, encoding="utf-8")
    objective: Any = registry.build("objectives", {"name": "align"}, where="phases[0].objectives[1]")
    assert [(o.name, o.type) for o in describe("objectives", "align").options] == [("image", "str"), ("text", "str")]
    draws = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(n, 8, generator=draws), dim=1) for n in (3, 2))
    # Sample 1 has no report; sample 2 has one, and so has sample 0.
    parts = {
        parse_key("image/embedding"): Part(image, torch.tensor([0, 1, 2])),
        parse_key("text/embedding"): Part(text, torch.tensor([0, 2])),
    }
    assert {str(key) for key in objective.needs()} == {"image/embedding", "text/embedding"}
    term = objective(Context(parts=parts, batch=Batch.of({"id.patient": ["a", "b", "c"]})))["distance"]
    expected = ((image[[0, 2]] - text) ** 2).sum(dim=1)
    torch.testing.assert_close(term.sum, expected.sum())
    assert term.count.item() == 2


def test_the_page_on_objectives_names_the_files_that_the_tests_ask_of_a_new_one() -> None:
    named = set(re.findall(r"`((?:configs|medvlp|tests)/[\w/.]+)`", PAGES["docs/contributing/objective.md"]))
    assert {"tests/objectives/cases/NAME.py", "medvlp/core/methods.yaml", "configs/compare/phantom.yaml"} <= named
    shipped = {name.replace("NAME", "koleo") for name in named - {"medvlp/objectives/align.py"}}
    assert [name for name in sorted(shipped) if not (ROOT / name).is_file()] == []
