"""The comparison of methods trains every configuration of a single method, all on one number of samples."""

from __future__ import annotations

import pytest

from medvlp.config.yaml import read_yaml
from medvlp.core.resources import resource_folder
from medvlp.runs.grid.plan import Plan
from medvlp.runs.grid.sweep import SweepConfig, load_sweep

FOLDER = resource_folder("configs") / "compare"
NEGATIVES = {"interclr", "capro", "fopro", "ins"}  # objectives that take a queue's rows for other pictures
FILMS = 1518  # of the training patients of the quick start's hospital


@pytest.fixture(scope="module")
def plan() -> Plan[SweepConfig]:
    return load_sweep("compare/phantom.yaml")


def test_every_method_is_a_cell_and_has_the_same_budget(plan: Plan[SweepConfig]) -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"phantom.yaml", "budget.yaml"}
    axis = read_yaml(FOLDER / "phantom.yaml")["axes"]["method"]
    assert {choice.get("config") for choice in axis} == {*files, None}
    assert len(plan.cells) == len(axis) >= 25
    assert {run.seed for run in plan.runs} == {0, 1, 2}
    assert {run.training.phases[-1].until for run in plan.runs if run.training is not None} == {19200}


def test_no_film_meets_its_own_earlier_row_in_a_queue_of_negatives(plan: Plan[SweepConfig]) -> None:
    seen = set()
    for run in (cell.runs[0].training for cell in plan.cells):
        assert run is not None
        taught = NEGATIVES & {objective["name"] for objective in run.phases[-1].objectives}
        rows = {view.get("to", "image.local"): view["number"] for view in run.data.suffix if view["name"] == "crops"}
        for queue in (state for state in run.states.values() if taught and state["name"] == "queue"):
            view = queue["reads"][0].partition(":")[2].partition("/")[0]
            assert queue["size"] < FILMS * rows.get(view, 1), taught
        seen |= taught
    assert seen == NEGATIVES
