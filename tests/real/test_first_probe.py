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


#: Added to a printed line, whose own words all stay: what is repeated took nearly half of the time on NIH's films.
FEWER = " evaluation.resamples=500 evaluation.measures.few_shot.draws=2"
PACKS = {"$NIH_CHESTXRAY14": "nih-cxr14", "$PNEUMONIA_KERMANY": "pneumonia-kermany"}


def printed() -> list[str]:
    """The commands of the page on real labels that make the bundles and probe them on public data."""
    page = (ROOT / "docs" / "start" / "labels.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.S | re.M)).splitlines()
    found = [line.removeprefix(".venv/bin/") for line in lines if "--from starter" in line or 'data.root="$' in line]
    assert any("--from starter" in line for line in found), "the page shows not how the weights become a bundle"
    return found


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
    lines = [line for line in printed() if "--from starter" in line]
    for line in lines:
        run(line)
    assert [
        load_bundle(shlex.split(line)[shlex.split(line).index("--out") + 1]).model.vision_kind for line in lines
    ] == ["image"] * len(lines)


@pytest.mark.slow
def test_real_films_are_probed_by_the_printed_lines(
    pack: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {name: pack(folder) for name, folder in PACKS.items()}
    monkeypatch.chdir(tmp_path)
    judged = 0
    for line in printed():
        for name, root in roots.items():
            line = line.replace(f'"{name}"', shlex.quote(str(root)))
        run(line + (FEWER if " evaluate " in line else ""))
        out = re.search(r" out=(\S+)", line)
        if out is not None:
            macro = load_result(tmp_path / out[1] / "results" / "linear_probe.json").find("auroc", "macro")
            assert macro.interval.low is not None
            assert macro.interval.low > 0.5
            judged += 1
    assert judged
