"""What the README promises is there: its two first lines, configurations, commands, and the objective in one file."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch
import torch.nn.functional as F
import typer

from medvlp.cli.main import app
from medvlp.core.context import Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.resources import resource_folder
from medvlp.core.sample import Batch

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.S | re.M)


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


def test_the_table_of_configurations_is_that_of_the_folder() -> None:
    folder = resource_folder("configs")
    kinds = ("pretrain", "finetune", "evaluate", "sweep")
    shipped = {f"{kind}/{path.name}" for kind in kinds for path in (folder / kind).glob("*.yaml")}
    assert set(re.findall(rf"(?:{'|'.join(kinds)})/\w+\.yaml", README)) == shipped


def test_every_command_is_named_and_every_name_is_a_command() -> None:
    command = typer.main.get_command(app)
    known = set(command.commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"`medvlp ([a-z]+)", README)) == known
    assert set(re.findall(r"\.venv/bin/medvlp ([a-z]+)", README)) <= known


def test_linked_files_are_there() -> None:
    links = re.findall(r"\]\(([^):]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_objective_in_one_file_is_what_it_says(tmp_path: Path) -> None:
    (source,) = (text for kind, text in BLOCKS if kind == "python" and "(Objective)" in text)
    path = tmp_path / "align.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("align", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    draws = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(n, 8, generator=draws), dim=1) for n in (3, 2))
    # Sample 1 has no report; sample 2 has one, and so has sample 0.
    parts = {
        parse_key("image/embedding"): Part(image, torch.tensor([0, 1, 2])),
        parse_key("text/embedding"): Part(text, torch.tensor([0, 2])),
    }
    objective = module.Align()
    assert {str(key) for key in objective.needs()} == {"image/embedding", "text/embedding"}
    term = objective(Context(parts=parts, batch=Batch.of({"id.patient": ["a", "b", "c"]})))["distance"]
    expected = ((image[[0, 2]] - text) ** 2).sum(dim=1)
    torch.testing.assert_close(term.sum, expected.sum())
    assert term.count.item() == 2
