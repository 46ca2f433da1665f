"""The manual's block on real labels runs as it is printed, in the environment that the first line makes."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from medvlp.evaluation.results import load_result
from medvlp.models.bundle import load_bundle
from medvlp.zoo.starter import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]


def block() -> list[str]:
    """The commands of the one shell block that converts the starter's weights."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        body
        for page in pages
        for body in re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
        if "--from starter --out runs/starter" in body
    ]
    assert found, "no page shows how the starter's weights become a bundle"
    return [line.removeprefix(".venv/bin/") for line in found[0].splitlines() if line.strip()]


def test_the_weights_come_with_a_plain_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[<>=\[]", each)[0] for each in project["dependencies"]}
    assert {facts.package for facts in WEIGHTS.values()} <= required


def run(line: str) -> None:
    """Run a line as the shell would, in this process."""
    from typer.testing import CliRunner

    from medvlp.cli.main import app

    done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_the_weights_become_a_bundle_by_the_printed_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in block() if line.startswith("medvlp convert")]
    for line in lines:
        run(line)
    assert [load_bundle(shlex.split(line)[shlex.split(line).index("--out") + 1]).model.pictures for line in lines] == [
        "image"
    ] * len(lines)


@pytest.mark.slow
def test_real_films_are_probed_by_the_printed_lines(
    pack: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = {"nih_chestxray14": pack("nih-cxr14"), "pneumonia_kermany": pack("pneumonia-kermany")}
    monkeypatch.chdir(tmp_path)
    for line in block():
        name = next((name for name in packs if f"probe/{name}.yaml" in line), "")
        if name:
            line = re.sub(r"data\.root=\S+", f"data.root={shlex.quote(str(packs[name]))}", line)
            line = re.sub(r" out=\S+", f" out={name}", line)
        run(line)
    for name in packs:
        rows = load_result(tmp_path / name / "results" / "linear_probe.json").metrics
        macro = next(row for row in rows if row["metric"] == "auroc" and row["label"] == "macro")
        assert macro["low"] > 0.5
