"""Carry out the runs of a suite.

A run's folder holds ``suite.json``: what was judged on what. A run is done again where its configuration, its recipes,
the bundle or the data changed; else it is not. What was killed starts again, with the pixels that it had cached.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medvlp.runs.grid import jobs as crew
from medvlp.runs.grid.jobs import Standing, read_state, write_state
from medvlp.runs.evaluate import evaluate, judged_manifest
from medvlp.runs.grid.suite import SuitePlan, SuiteRun
from medvlp.core.errors import UserError
from medvlp.core.provenance import code_hash

__all__ = ["LOG", "carry_out", "standing"]

LOG = "suite.log"
_STATE = "suite.json"


def standing(run: SuiteRun) -> Standing:
    """Read how far a run came; whether its data is still the same is not looked at."""
    found = read_state(run.folder / _STATE)
    seconds, code = float(str(found.get("seconds", 0.0))), str(found.get("code", ""))
    if found.get("evaluated") == run.identity and (run.folder / "results").is_dir():
        return Standing("finished", seconds=seconds, code=code)
    if run.absent:
        return Standing("not begun", run.absent)
    if found.get("failed"):
        return Standing("failed", str(found["failed"]), seconds, code)
    return Standing("begun" if run.folder.exists() else "not begun", seconds=seconds)


def carry_out(plan: SuitePlan, *, jobs: int = 1, say: Callable[[str], None] = lambda text: None) -> None:
    """Judge what is not finished, `jobs` data sets at a time, and go on where one fails.

    Args:
        plan: the suite.
        jobs: processes; the cores are shared among them.
        say: told of each run as it ends.

    Raises:
        UserError: if another suite is at work in the folder.
    """
    with crew.alone(plan.out, what="suite", otherwise="choose another out"):
        there = [run for run in plan.runs if not run.absent]
        waiting = [_JudgeOne(run) for run in there if standing(run).state != "finished" or _other_data(run, say)]
        say(
            f"{len(plan.runs)} runs: {len(plan.runs) - len(there)} without data, {len(there) - len(waiting)} finished "
            f"before, {len(waiting)} to do."
        )
        crew.carry_out(waiting, title="Suite", unit="runs", jobs=jobs, say=say)


def _other_data(run: SuiteRun, say: Callable[[str], None]) -> bool:
    """Whether the data is not that of the stored numbers; they are then forgotten."""
    try:
        same = _data_hash(run) == read_state(run.folder / _STATE).get("data")
    except UserError:
        same = False  # the run says what is wrong with it
    if not same:
        say(f"{run.name}: its data changed since it was judged; it is judged again.")
        write_state(run.folder / _STATE, {"evaluated": ""})
    return not same


def _data_hash(run: SuiteRun) -> str:
    return judged_manifest(run.config.data, run.config.evaluation)[1].hash


@dataclass(frozen=True)
class _JudgeOne:
    """A run as a job."""

    run: SuiteRun

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def state(self) -> Path:
        return self.run.folder / _STATE

    @property
    def log(self) -> Path:
        return self.run.folder / LOG

    @property
    def effort(self) -> int:
        return 1

    def standing(self) -> Standing:
        return standing(self.run)

    def done(self) -> int:
        return 0

    def work(self) -> None:
        shutil.rmtree(self.run.folder / "results", ignore_errors=True)  # of another configuration or other data
        done = evaluate(self.run.config, say=lambda text: print(text, flush=True))
        if not done.found:
            raise UserError(
                "The bundle and the data have no measure in common: no finding with prompts, no report, no box."
            )
        data = next(iter(done.found.values())).data
        write_state(self.state, {"evaluated": self.run.identity, "data": data, "code": code_hash()})
