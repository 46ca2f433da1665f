"""Grounding on the page: a map, its controls, and what the tests of the maps found, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.words import finding, name_of

COLUMNS = {
    "pointing_game": "Pointing game",
    "grid_ceiling": "Grid ceiling",
    "pointing_game_15px": "… within 15 px",
    "mean_iou": "Mean IoU",
    "cnr_signed": "CNR",
    "box_ap@0.3": "Box AP@0.3",
    "zero_region_auroc": "Absence, AUROC",
}
_TESTS = {
    "map_of_random_weights": "Like the map of random weights",
    "map_between_images": "Like the maps of other pictures",
    "map_between_findings": "Like the maps of other findings",
}


@dataclass(frozen=True, slots=True)
class GroundingRow:
    """One result on one finding: its name, whether it is a control, and a row for each of `COLUMNS`."""

    name: str
    control: bool
    cells: tuple[Metric | None, ...]


def grounding_rows(results: Sequence[Result]) -> list[tuple[str, list[GroundingRow]]]:
    """Return (finding, results side by side), all findings pooled first; nothing where no map was measured.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="pointing_game", label="all", value=0.5, counts=Counts(n=10, patients=8))
        >>> found = grounding_rows([Result(name="g", metrics=(row,))])
        >>> [(name, rows[0].name) for name, rows in found]
        [('all findings', 'G')]
    """
    some = [result for result in results if any(row.metric == "pointing_game" for row in result.metrics)]
    labels = {row.label for result in some for row in result.metrics if row.metric == "pointing_game"} - {"macro"}
    found = []
    for label in sorted(labels, key=lambda label: (label != "all", label)):
        rows = []
        for result in some:
            own = {row.metric: row for row in result.metrics if row.label == label and row.group is None}
            control = result.role == "control"  # drawn on a fine grid that is nobody's
            cells = tuple(None if control and metric == "grid_ceiling" else own.get(metric) for metric in COLUMNS)
            rows.append(GroundingRow(name_of(result.name, result.title), control, cells))
        found.append(("all findings" if label == "all" else finding(label), rows))
    return found


def sanity_rows(results: Sequence[Result]) -> list[tuple[str, str, Metric]]:
    """Return (result, what is compared, its row) of every test of a map."""
    found = []
    for result in results:
        for row in result.metrics:
            if row.metric in _TESTS:
                stage = f" ({row.label} of the layers)" if row.metric == "map_of_random_weights" else ""
                found.append((name_of(result.name, result.title), _TESTS[row.metric] + stage, row))
    return found
