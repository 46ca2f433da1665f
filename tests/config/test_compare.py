"""The comparison of methods trains every configuration of a single method, all on one number of samples."""

from __future__ import annotations

from medvlp.config.yaml import read_yaml
from medvlp.core.resources import resource_folder
from medvlp.runs.grid.sweep import load_sweep

FOLDER = resource_folder("configs") / "compare"


def test_every_method_is_a_cell_and_has_the_same_budget() -> None:
    plan = load_sweep("compare/phantom.yaml")
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"phantom.yaml", "budget.yaml"}
    axis = read_yaml(FOLDER / "phantom.yaml")["axes"]["method"]
    assert {choice.get("config") for choice in axis} == {*files, None}
    assert len(plan.cells) == len(axis) >= 25
    assert {run.seed for run in plan.runs} == {0, 1, 2}
    assert {run.training.phases[-1].until for run in plan.runs if run.training is not None} == {19200}
