"""Carry out the runs of a sweep.

A run's folder holds ``sweep.json``: what it was made of and how far it came. It is written after training and after
each evaluation, so that what is finished is not done again and what was killed goes on, from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medvlp.runs.grid import jobs as crew
from medvlp.runs.grid.jobs import Standing, read_state, write_state
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.grid.sweep import Plan, Run
from medvlp.runs.train import train
from medvlp.core.provenance import code_hash, hash_of
from medvlp.training.journal import last_row

__all__ = ["LOG", "carry_out", "result_folder", "standing"]

LOG = "sweep.log"
_STATE = "sweep.json"


def standing(run: Run, plan: Plan) -> Standing:
    """Read how far a run came; results of other options of evaluation count as none."""
    found = read_state(run.folder / _STATE)
    evaluated = found.get("evaluated")
    wanted = {split: _judged(run, split) for split in _splits(plan)}
    seconds, code = float(str(found.get("seconds", 0.0))), str(found.get("code", ""))
    judged = isinstance(evaluated, dict) and wanted.items() <= evaluated.items()
    there = all((result_folder(run, plan, split) / "results").is_dir() for split in wanted)
    if found.get("trained") == run.identity and judged and there:
        return Standing("finished", seconds=seconds, code=code)
    if found.get("failed"):
        return Standing("failed", str(found["failed"]), seconds, code)
    return Standing("begun" if run.folder.exists() else "not begun", seconds=seconds)


def result_folder(run: Run, plan: Plan, split: str) -> Path:
    """Return the folder with ``results/`` of a split: the run's own for the first one that is reported."""
    return run.folder if split == _splits(plan)[0] else run.folder / "splits" / split


def carry_out(plan: Plan, *, jobs: int = 1, say: Callable[[str], None] = lambda text: None) -> None:
    """Run what is not finished, `jobs` runs at a time, and go on where one fails.

    Args:
        plan: the sweep.
        jobs: processes; the cores are shared among them.
        say: told of each run as it ends.

    Raises:
        UserError: if another sweep is at work in the folder.
    """
    with crew.alone(plan.out, what="sweep", otherwise="choose another --out"):
        waiting = [_TrainAndJudge(run, plan) for run in plan.runs if standing(run, plan).state != "finished"]
        total = len(waiting)
        done_before = len(plan.runs) - total
        say(
            f"{len(plan.cells)} cells x {len(plan.config.seeds)} seeds: {len(plan.runs)} runs, "
            f"{done_before} finished before, {total} to do."
        )
        crew.carry_out(waiting, title="Sweep", unit="samples", jobs=jobs, say=say)


@dataclass(frozen=True)
class _TrainAndJudge:
    """A run as a job."""

    run: Run
    plan: Plan

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
        return self.run.config.phases[-1].until

    def standing(self) -> Standing:
        return standing(self.run, self.plan)

    def done(self) -> int:
        return int(str(last_row(self.run.folder).get("samples_seen", 0)))

    def work(self) -> None:
        run, config = self.run, self.run.config
        if read_state(self.state).get("trained") != run.identity:
            train(config, say=lambda text: print(text, flush=True))
            write_state(self.state, {"trained": run.identity, "evaluated": {}})
        for split in _splits(self.plan):
            evaluated = read_state(self.state).get("evaluated")
            known = evaluated if isinstance(evaluated, dict) else {}
            if known.get(split) == _judged(run, split):
                continue
            evaluate(
                EvaluationRun(
                    model=str(run.folder / "bundle"),
                    out=str(result_folder(run, self.plan, split)),
                    data=config.data.model_copy(update={"prefix": []}),
                    evaluation=config.evaluation.model_copy(update={"split": split}),
                    seed=config.seed,
                    workers=max(1, config.training.workers),
                ),
                page=False,  # three quarters of the time; `medvlp report` draws that of a run one looks at
                say=lambda text: print(text, flush=True),
            )
            write_state(self.state, {"evaluated": {**known, split: _judged(run, split)}, "code": code_hash()})


def _splits(plan: Plan) -> list[str]:
    return list(dict.fromkeys(measure.split for measure in plan.config.measures))


def _judged(run: Run, split: str) -> str:
    """Return the hash of how a split is evaluated."""
    return hash_of([run.identity, run.config.evaluation.model_copy(update={"split": split}).model_dump(mode="json")])
