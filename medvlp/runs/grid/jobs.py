"""A pool of jobs: each run of a grid in a process of its own, so that what one breaks on does not reach the others.

A run's folder holds ``sweep.json`` or ``suite.json``: what was made of what and how far it came. It is written after
training and after each evaluation: what is finished is not done again, and what was killed goes on, from its newest
checkpoint or with the pixels that it had cached.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path
from statistics import fmean
from typing import Any

from medvlp.core.console import show_messages, silent
from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json, write_json
from medvlp.core.processes import end_with_parent
from medvlp.core.progress import duration, progress
from medvlp.core.provenance import code_hash
from medvlp.data.cache import locked
from medvlp.evaluation.cells import RunState
from medvlp.runs.evaluate import evaluate, judged_manifest
from medvlp.runs.grid.plan import Run
from medvlp.runs.train import train
from medvlp.training.journal import LOG, last_row, read_journal

logger = logging.getLogger(__name__)

_PRELOADED = ("timm.models.vision_transformer", "torch.utils.tensorboard", "pydicom", "sklearn.linear_model")
_POLL = 0.5  # seconds between looks at how far jobs are, for the progress bar
_PATIENCE = 120.0  # seconds that an interrupted job has to save itself
_IN_MB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, others KiB
_Process = ForkServerProcess | SpawnProcess


def carry_out(waiting: Sequence[Run], *, title: str, jobs: int = 1, first: Callable[[Run], None] | None = None) -> None:
    """Do runs in this order, `jobs` at a time, which share the cores, and go on where one fails.

    Args:
        waiting: the runs.
        title: of the progress.
        jobs: at a time.
        first: is told of the first one that is finished.
    """
    if waiting:
        _Pool(waiting, jobs, first).work(title)


class _Pool:
    """The processes at work and what is known of their runs."""

    def __init__(self, waiting: Sequence[Run], jobs: int, first: Callable[[Run], None] | None = None) -> None:
        self.first = first
        self.waiting, self.jobs = list(waiting), min(jobs, len(waiting))
        self.total, self.effort = len(waiting), sum(map(_effort, waiting))
        # The share of its training that each job has before it; seconds of whole trainings, and of what is beside them.
        self.left = {run.state: 1 - _done(run) / _effort(run) for run in waiting}
        self.training, self.beside = list[float](), list[float]()
        self.working: dict[_Process, tuple[Run, float]] = {}
        # Jobs are forked from a server that has imported what they need and runs no thread: quick, and nothing shared.
        self.context: Any = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, *_PRELOADED])

    def work(self, title: str) -> None:
        """Start, wait and report until nothing is left; leave no process behind."""
        seen: dict[Path, int] = {}
        try:
            with progress(title, unit="samples" if self.waiting[0].training else "runs") as report:
                while self.waiting or self.working:
                    while self.waiting and len(self.working) < self.jobs:
                        self._start(self.waiting.pop(0))
                    wait([process.sentinel for process in self.working], timeout=_POLL)
                    for process in [each for each in self.working if not each.is_alive()]:
                        run, begun = self.working.pop(process)
                        seen[run.state] = _effort(run)
                        self._end(process, run, time.monotonic() - begun)
                    seen |= {run.state: _done(run) for run, _ in self.working.values()}
                    report(sum(seen.values()), self.effort)
        finally:
            self._stop()

    def _start(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        threads = None if self.jobs == 1 else max(1, (os.cpu_count() or 1) // self.jobs)
        # Not a daemon: its loaders have processes of their own.
        process = self.context.Process(target=_in_process, args=(run, threads), daemon=False)
        process.start()
        self.working[process] = (run, time.monotonic())

    def _end(self, process: _Process, run: Run, seconds: float) -> None:
        code = process.exitcode or 0
        process.close()
        found = run_state(run)
        _write_state(run, {"seconds": round(found.seconds + seconds, 1)})
        if found.state != "finished" and (code < 0 or not found.reason):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            memory = ", probably for want of memory" if code == -signal.SIGKILL else ""
            _write_state(run, {"failed": f"Its process ended with {how}{memory}."})
            found = run_state(run)
        outcome = f"finished in {duration(seconds)}" if found.state == "finished" else f"failed: {found.reason}"
        # Seconds that each start trained: the run's log begins anew with each.
        rows = read_journal(run.folder / LOG) if (run.folder / LOG).is_file() else []
        trained = [a for a, b in pairwise([*(float(str(row["seconds"])) for row in rows), -1.0]) if b < a]
        self.beside.append(max(0.0, seconds - sum(trained[-1:])) if self.left.pop(run.state) else seconds)
        self.training.append(sum(trained) * _effort(run) / max(1, _done(run)))
        now = self.left | {each.state: 1 - _done(each) / _effort(each) for each, _ in self.working.values()}
        rest = fmean(self.training) * sum(now.values()) + fmean(self.beside) * len(now)
        ahead = f"; about {duration(rest / min(self.jobs, len(self.left)))} left" if self.left else ""
        logger.info(f"[{self.total - len(self.left)}/{self.total}] {run.name}: {outcome}{ahead}")
        if found.state == "finished" and (first := self.first) is not None:
            self.first = None
            first(run)

    def _stop(self) -> None:
        for process in self.working:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in self.working:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for run, begun in self.working.values():  # they were told to stop, and go on next time
            _write_state(run, {"failed": "", "seconds": round(run_state(run).seconds + time.monotonic() - begun, 1)})


def _effort(run: Run) -> int:
    return 1 if run.training is None else run.training.phases[-1].until


def _done(run: Run) -> int:
    return 0 if run.training is None else int(str(last_row(run.folder).get("samples_seen", 0)))


# in the job's process -----------------------------------------------------------------------------------------------


def _in_process(run: Run, threads: int | None) -> None:
    end_with_parent()  # the next pool would find it still writing
    descriptor = os.open(run.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(descriptor, number)
    os.close(descriptor)
    show_messages()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    # A job whose pool was killed may still be on its way out.
    with locked(run.folder / ".lock", mode=0o666):
        _write_state(run, {"failed": ""})
        try:
            _train_and_evaluate(run)
            failed = ""
        except UserError as error:
            failed = str(error)
            print(failed, flush=True)
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {' '.join(str(error).split())}"
        before = int(str(_read_state(run).get("memory", 0)))
        most = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _IN_MB, before)
        _write_state(run, {"failed": failed, "memory": most})
    sys.exit(1 if failed else 0)


def _train_and_evaluate(run: Run) -> None:
    """Do what is missing; what is written before the process is killed is found next time."""
    if run.training is not None and _read_state(run).get("trained") != run.identity:
        train(run.training, judged=run.evaluations)
        _write_state(run, {"trained": run.identity, "evaluated": {}})
    for split, evaluation in run.evaluations.items():
        made = _evaluated(run)
        if made.get(split) == evaluation.identity and evaluation.results.is_dir():
            continue
        # Results of another configuration or other data; half of the new ones are never taken for whole old ones.
        made = {name: each for name, each in made.items() if name != split}
        _write_state(run, {"evaluated": made})
        shutil.rmtree(evaluation.results, ignore_errors=True)
        # A page is three quarters of the time: `medvlp report` draws that of a trained run one looks at.
        done = evaluate(evaluation.config, page=run.training is None)
        if run.training is None and not done.found:
            raise UserError(
                "The bundle and the data have no measure in common: no finding with prompts, no report, no box."
            )
        data = next((result.data for result in done.found.values()), "")
        made = {**made, split: evaluation.identity}
        _write_state(run, {"evaluated": made, "places": _places(run), "data": data, "code": code_hash()})


# state --------------------------------------------------------------------------------------------------------------


def run_state(run: Run) -> RunState:
    """Read how far a run came; results of other options of evaluation count as none, their data is not looked at."""
    found, made = _read_state(run), _evaluated(run)
    seconds, code = float(str(found.get("seconds", 0.0))), str(found.get("code", ""))
    memory = float(str(found.get("memory", 0.0)))
    trained = run.training is None or found.get("trained") == run.identity
    steps = run.evaluations.items()
    if trained and all(made.get(split) == each.identity and each.results.is_dir() for split, each in steps):
        return RunState("finished", seconds=seconds, code=code, memory=memory)
    if run.absent:
        return RunState("not begun", run.absent)
    if found.get("failed"):
        return RunState("failed", str(found["failed"]), seconds, code)
    return RunState("begun" if run.folder.exists() else "not begun", seconds=seconds)


def data_changed(run: Run) -> bool:
    """Return whether the data is not that of the stored numbers, which are then forgotten."""
    try:
        with silent():
            judged = judged_manifest(run.evaluation.data, run.evaluation.evaluation)[1]
        same = judged.hash == _read_state(run).get("data")
    except UserError:
        same = False  # the run says what is wrong with it
    if not same:
        logger.info(f"{run.name}: its data changed since it was judged; it is judged again.")
        _write_state(run, {"evaluated": {}})
    return not same


def _evaluated(run: Run) -> dict[str, object]:
    """Return split -> identity of what was evaluated into its folder; suites of before wrote the one identity alone."""
    state, here = _read_state(run), _places(run)
    found, places = state.get("evaluated"), state.get("places")
    made = found if isinstance(found, dict) else dict.fromkeys(here, found) if found else {}
    lie = {**here, **places} if isinstance(places, dict) else here
    return {split: each for split, each in made.items() if split in here and lie[split] == here[split]}


def _places(run: Run) -> dict[str, str]:
    return {split: each.results.relative_to(run.folder).as_posix() for split, each in run.evaluations.items()}


def _read_state(run: Run) -> dict[str, object]:
    """Return what is known; nothing where the file is absent or torn: what it says can be found out again."""
    try:
        return read_json(run.state) if run.state.is_file() else {}
    except DataError:
        return {}


def _write_state(run: Run, facts: Mapping[str, object]) -> None:
    write_json(run.state, {**_read_state(run), **facts})
