"""Carry out the runs of a sweep, each in a process of its own: what one breaks on does not reach the others.

A run's folder holds ``sweep.json``: what it was made of and how far it came. It is written after training and after
each evaluation, so that what is finished is not done again and what was killed goes on, from its newest checkpoint.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path
from typing import Any

from medvlp.config.evaluate import EvaluationRun, evaluate
from medvlp.config.sweep import Plan, Run
from medvlp.config.train import train
from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json, write_json
from medvlp.core.progress import progress
from medvlp.core.provenance import code_hash, hash_of
from medvlp.data.cache import locked
from medvlp.evaluation.cells import State
from medvlp.training.journal import last_row

__all__ = ["LOG", "Standing", "carry_out", "result_folder", "standing"]

LOG = "sweep.log"
_STATE = "sweep.json"
_PRELOADED = ("timm.models.vision_transformer", "torch.utils.tensorboard", "pydicom")  # what most runs import late
_POLL = 0.5  # seconds between looks at the logs, for the progress bar
_PATIENCE = 120.0  # seconds that an interrupted run has to save itself
_Process = ForkServerProcess | SpawnProcess


@dataclass(frozen=True)
class Standing:
    """How far a run came.

    Attributes:
        state: of the run.
        reason: of a failure, one sentence.
        seconds: that it took, over all its starts.
        code: hash of the code that finished it.
    """

    state: State
    reason: str = ""
    seconds: float = 0.0
    code: str = ""


def standing(run: Run, plan: Plan) -> Standing:
    """Read how far a run came; results of other options of evaluation count as none."""
    found = _read(run)
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
    with _alone(plan.out):
        waiting = [run for run in plan.runs if standing(run, plan).state != "finished"]
        total = len(waiting)
        done_before = len(plan.runs) - total
        say(
            f"{len(plan.cells)} cells x {len(plan.config.seeds)} seeds: {len(plan.runs)} runs, "
            f"{done_before} finished before, {total} to do."
        )
        if waiting:
            _Crew(plan, waiting, jobs, say).work()


class _Crew:
    """The processes at work and what is known of their runs."""

    def __init__(self, plan: Plan, waiting: Sequence[Run], jobs: int, say: Callable[[str], None]) -> None:
        self.plan, self.waiting, self.jobs, self.say = plan, list(waiting), min(jobs, len(waiting)), say
        self.total, self.ended = len(waiting), 0
        self.samples = {run.folder: run.config.phases[-1].until for run in waiting}
        self.working: dict[_Process, tuple[Run, float]] = {}
        self.context = _context()
        self.begun = time.monotonic()

    def work(self) -> None:
        """Start, wait and tell until nothing is left; leave no process behind."""
        every = sum(self.samples.values())
        seen: dict[Path, int] = {}
        try:
            with progress("Sweep", unit="samples") as tell:
                while self.waiting or self.working:
                    while self.waiting and len(self.working) < self.jobs:
                        self._start(self.waiting.pop(0))
                    wait([process.sentinel for process in self.working], timeout=_POLL)
                    for process in [each for each in self.working if not each.is_alive()]:
                        run, begun = self.working.pop(process)
                        seen[run.folder] = self.samples[run.folder]
                        self._end(process, run, time.monotonic() - begun)
                    seen |= {run.folder: _samples_seen(run) for run, _ in self.working.values()}
                    tell(sum(seen.values()), every)
        finally:
            self._stop()

    def _start(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        threads = None if self.jobs == 1 else max(1, (os.cpu_count() or 1) // self.jobs)
        # Not a daemon: its loaders have processes of their own.
        process = self.context.Process(target=_work, args=(run, self.plan, threads), daemon=False)
        process.start()
        self.working[process] = (run, time.monotonic())

    def _end(self, process: _Process, run: Run, seconds: float) -> None:
        code = process.exitcode or 0
        process.close()
        self.ended += 1
        found = standing(run, self.plan)
        if found.state != "finished" and (code < 0 or not found.reason):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            memory = ", probably for want of memory" if code == -signal.SIGKILL else ""
            _write(run, {"failed": f"Its process ended with {how}{memory}."})
            found = standing(run, self.plan)
        told = f"finished in {_span(seconds)}" if found.state == "finished" else f"failed: {found.reason}"
        left = self.total - self.ended
        # Whole runs are the measure: they differ less than their samples a second do, evaluation included.
        pace = (time.monotonic() - self.begun) / self.ended
        ahead = f"; about {_span(pace * left)} left" if left else ""
        self.say(f"[{self.ended}/{self.total}] {run.name}: {told}{ahead}")

    def _stop(self) -> None:
        for process in self.working:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in self.working:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for run, _ in self.working.values():
            _write(run, {"failed": ""})  # it was told to stop, and goes on next time


# in the run's process -----------------------------------------------------------------------------------------------


def _work(run: Run, plan: Plan, threads: int | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_to(run.folder / LOG)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    # A run whose sweep was killed may still be on its way out.
    with locked(run.folder / ".lock"):
        begun = time.monotonic()
        spent = float(str(_read(run).get("seconds", 0.0)))
        _write(run, {"failed": ""})
        try:
            _make(run, plan)
            failed = ""
        except UserError as error:
            failed = str(error)
            print(failed, flush=True)
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _write(run, {"failed": failed, "seconds": round(spent + time.monotonic() - begun, 1)})
    sys.exit(1 if failed else 0)


def _make(run: Run, plan: Plan) -> None:
    config = run.config
    if _read(run).get("trained") != run.identity:
        train(config, say=lambda text: print(text, flush=True))
        _write(run, {"trained": run.identity, "evaluated": {}})
    for split in _splits(plan):
        evaluated = _read(run).get("evaluated")
        known = evaluated if isinstance(evaluated, dict) else {}
        if known.get(split) == _judged(run, split):
            continue
        evaluate(
            EvaluationRun(
                model=str(run.folder / "bundle"),
                out=str(result_folder(run, plan, split)),
                data=config.data.model_copy(update={"prefix": []}),
                evaluation=config.evaluation.model_copy(update={"split": split}),
                seed=config.seed,
                workers=max(1, config.training.workers),
            ),
            page=False,  # three quarters of the time; `medvlp report` draws that of a run one looks at
            say=lambda text: print(text, flush=True),
        )
        _write(run, {"evaluated": {**known, split: _judged(run, split)}, "code": code_hash()})


def _end_with_parent() -> None:
    """A run must not outlive its sweep: the next one would find it still writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_to(log: Path) -> None:
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(descriptor, number)
    os.close(descriptor)


# ----------------------------------------------------------------------------------------------------------------


def _splits(plan: Plan) -> list[str]:
    return list(dict.fromkeys(measure.split for measure in plan.config.measures))


def _judged(run: Run, split: str) -> str:
    """Return the hash of how a split is evaluated."""
    return hash_of([run.identity, run.config.evaluation.model_copy(update={"split": split}).model_dump(mode="json")])


def _read(run: Run) -> dict[str, object]:
    path = run.folder / _STATE
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except DataError:
        return {}  # what it says can be found out again


def _write(run: Run, facts: Mapping[str, object]) -> None:
    write_json(run.folder / _STATE, {**_read(run), **facts})


def _samples_seen(run: Run) -> int:
    return int(str(last_row(run.folder).get("samples_seen", 0)))


def _context() -> Any:  # noqa: ANN401
    """Runs are forked from a server that has imported what they need and runs no thread: quick, and nothing shared."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_PRELOADED])
    return context


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"Another sweep is at work in {folder}: wait for it, or choose another --out.") from None
    finally:
        os.close(descriptor)


def _span(seconds: float) -> str:
    """Words for a time.

    Example:
        >>> _span(8.2), _span(75), _span(4020)
        ('8 s', '1 min 15 s', '1 h 7 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
