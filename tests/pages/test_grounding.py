"""Grounding on the page: a map stands beside its controls, and what its tests found is said."""

from __future__ import annotations

import pytest

from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result, Role
from medvlp.pages.grounding import grounding_rows, sanity_rows
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report


def result(name: str, value: float, *, role: Role = "model") -> Result:
    rows = [
        Metric(
            metric=metric,
            label=label,
            value=value,
            chance=0.1,
            interval=ConfidenceInterval(low=value - 0.1, high=value + 0.1),
            counts=Counts(n=40, patients=35),
        )
        for metric in ("pointing_game", "grid_ceiling", "mean_iou")
        for label in ("all", "effusion", "macro")
    ]
    return Result(name=name, title=name.capitalize(), recipe="r", data="d", metrics=tuple(rows), role=role)


@pytest.fixture
def results() -> tuple[Result, ...]:
    flagged = Metric(
        metric="map_between_images",
        label="all",
        value=0.97,
        reason="input_independent",
        counts=Counts(n=20, patients=20),
    )
    sanity = Result(name="sanity", title="Sanity", recipe="r", data="d", metrics=(flagged,))
    return result("map", 0.5), result("centre", 0.3, role="control"), sanity


def test_maps_and_controls_stand_side_by_side_the_pool_first(results: tuple[Result, ...]) -> None:
    found = grounding_rows(results)
    assert [name for name, _ in found] == ["all findings", "effusion"]
    assert [(row.name, row.control) for row in found[0][1]] == [("Map", False), ("Centre", True)]
    cells = [[cell.value if cell else None for cell in row.cells] for row in found[0][1]]
    # A control is drawn on a grid that is not the model's: it has no ceiling.
    assert cells == [[0.5, 0.5, None, 0.5, None, None, None], [0.3, None, None, 0.3, None, None, None]]


def test_the_page_has_both_tables_and_says_what_was_flagged(results: tuple[Result, ...]) -> None:
    page = render_report(ReportInputs(title="t", results=results))
    section = page[page.index('<section id="grounding">') :]
    assert "Where the maps point" in section
    assert "Grid ceiling</th>" in section
    assert "0.400 to 0.600" in section
    assert "random 0.100" in section
    assert "the maps of different pictures are nearly the same" in section
    assert sanity_rows(results)[0][1] == "Like the maps of other pictures"


def test_without_maps_there_is_no_section() -> None:
    page = render_report(ReportInputs(title="t", results=(Result(name="n", metrics=()),)))
    assert "grounding" not in page.split("</style>")[1]
