"""Runs of a sweep that are finished without having run: their state, and results that are handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvlp.core.files import write_json
from medvlp.core.provenance import code_hash, environment
from medvlp.evaluation.results import write_result

if TYPE_CHECKING:
    from medvlp.evaluation.results import Result
    from medvlp.runs.grid.plan import Run


def finish(run: Run, *results: Result) -> None:
    """Write what a run leaves that took 90 seconds and 700 MB."""
    for each in run.evaluations.values():
        for result in results:
            write_result(result, each.results / f"{result.name}.json")
    judged = {split: each.identity for split, each in run.evaluations.items()}
    state = {"failed": "", "trained": run.identity, "evaluated": judged, "code": code_hash()}
    write_json(run.state, {**state, "seconds": 90.0, "memory": 700})
    write_json(run.folder / "environment.json", {**environment(), "precision": "bfloat16"})
