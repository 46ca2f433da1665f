"""A crew: jobs carried out each in a process of its own, so that what one breaks on does not reach the others.

A job's folder holds a file of its state: what it was made of and how far it came. What is finished is not done again,
and what was killed goes on.
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
from typing import Any, Protocol

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import make_folder, read_json, write_json
from medvlp.core.progress import progress
from medvlp.data.cache import locked
from medvlp.evaluation.cells import State

__all__ = ["Job", "Standing", "alone", "carry_out", "read_state", "span", "write_state"]

_PRELOADED = ("timm.models.vision_transformer", "torch.utils.tensorboard", "pydicom")  # what most jobs import late
_POLL = 0.5  # seconds between looks at how far jobs are, for the progress bar
_PATIENCE = 120.0  # seconds that an interrupted job has to save itself
_Process = ForkServerProcess | SpawnProcess


@dataclass(frozen=True)
class Standing:
    """How far a job came.

    Attributes:
        state: of the job.
        reason: of a failure, one sentence.
        seconds: that it took, over all its starts.
        code: hash of the code that finished it.
    """

    state: State
    reason: str = ""
    seconds: float = 0.0
    code: str = ""


class Job(Protocol):
    """What a crew carries out; it travels to its process by pickle."""

    @property
    def name(self) -> str:
        """Words for messages."""
        ...

    @property
    def state(self) -> Path:
        """File of its state, in a folder of its own."""
        ...

    @property
    def log(self) -> Path:
        """File that takes what it prints."""
        ...

    @property
    def effort(self) -> int:
        """Units of work, for the progress bar."""
        ...

    def standing(self) -> Standing:
        """How far it came."""
        ...

    def done(self) -> int:
        """Units done so far."""
        ...

    def work(self) -> None:
        """Do it, in a process of its own; what it writes into its state before it is killed is found next time."""
        ...


def carry_out(
    waiting: Sequence[Job],
    *,
    title: str,
    unit: str,
    jobs: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Do jobs, `jobs` at a time, and go on where one fails.

    Args:
        waiting: what is to be done, in this order.
        title: of the progress bar.
        unit: of the efforts.
        jobs: processes; the cores are shared among them.
        say: told of each job as it ends.
    """
    if waiting:
        _Crew(waiting, jobs, say).work(title, unit)


class _Crew:
    """The processes at work and what is known of their jobs."""

    def __init__(self, waiting: Sequence[Job], jobs: int, say: Callable[[str], None]) -> None:
        self.waiting, self.jobs, self.say = list(waiting), min(jobs, len(waiting)), say
        self.total, self.ended = len(waiting), 0
        self.effort = sum(job.effort for job in waiting)
        self.working: dict[_Process, tuple[Job, float]] = {}
        self.context = _context()
        self.begun = time.monotonic()

    def work(self, title: str, unit: str) -> None:
        """Start, wait and tell until nothing is left; leave no process behind."""
        seen: dict[Path, int] = {}
        try:
            with progress(title, unit=unit) as tell:
                while self.waiting or self.working:
                    while self.waiting and len(self.working) < self.jobs:
                        self._start(self.waiting.pop(0))
                    wait([process.sentinel for process in self.working], timeout=_POLL)
                    for process in [each for each in self.working if not each.is_alive()]:
                        job, begun = self.working.pop(process)
                        seen[job.state] = job.effort
                        self._end(process, job, time.monotonic() - begun)
                    seen |= {job.state: job.done() for job, _ in self.working.values()}
                    tell(sum(seen.values()), self.effort)
        finally:
            self._stop()

    def _start(self, job: Job) -> None:
        job.state.parent.mkdir(parents=True, exist_ok=True)
        threads = None if self.jobs == 1 else max(1, (os.cpu_count() or 1) // self.jobs)
        # Not a daemon: its loaders have processes of their own.
        process = self.context.Process(target=_work, args=(job, threads), daemon=False)
        process.start()
        self.working[process] = (job, time.monotonic())

    def _end(self, process: _Process, job: Job, seconds: float) -> None:
        code = process.exitcode or 0
        process.close()
        self.ended += 1
        found = job.standing()
        if found.state != "finished" and (code < 0 or not found.reason):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            memory = ", probably for want of memory" if code == -signal.SIGKILL else ""
            write_state(job.state, {"failed": f"Its process ended with {how}{memory}."})
            found = job.standing()
        told = f"finished in {span(seconds)}" if found.state == "finished" else f"failed: {found.reason}"
        left = self.total - self.ended
        # Whole jobs are the measure: they differ less than their units a second do.
        pace = (time.monotonic() - self.begun) / self.ended
        ahead = f"; about {span(pace * left)} left" if left else ""
        self.say(f"[{self.ended}/{self.total}] {job.name}: {told}{ahead}")

    def _stop(self) -> None:
        for process in self.working:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in self.working:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for job, _ in self.working.values():
            write_state(job.state, {"failed": ""})  # it was told to stop, and goes on next time


# in the job's process -----------------------------------------------------------------------------------------------


def _work(job: Job, threads: int | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_to(job.log)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    # A job whose crew was killed may still be on its way out.
    with locked(job.state.parent / ".lock"):
        begun = time.monotonic()
        spent = float(str(read_state(job.state).get("seconds", 0.0)))
        write_state(job.state, {"failed": ""})
        try:
            job.work()
            failed = ""
        except UserError as error:
            failed = str(error)
            print(failed, flush=True)
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {' '.join(str(error).split())}"
        write_state(job.state, {"failed": failed, "seconds": round(spent + time.monotonic() - begun, 1)})
    sys.exit(1 if failed else 0)


def _end_with_parent() -> None:
    """A job must not outlive its crew: the next one would find it still writing."""
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


def read_state(path: Path) -> dict[str, object]:
    """Return what is known of a job; nothing where the file is absent or torn: what it says can be found out again."""
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except DataError:
        return {}


def write_state(path: Path, facts: Mapping[str, object]) -> None:
    """Add facts to what is known of a job."""
    write_json(path, {**read_state(path), **facts})


@contextmanager
def alone(folder: Path, *, what: str, otherwise: str) -> Iterator[None]:
    """Hold a folder that nobody else may work in at the same time.

    Args:
        folder: made where it is not there.
        what: that works there: ``sweep``.
        otherwise: what to do where one is at work.

    Raises:
        UserError: if one is at work.
    """
    make_folder(folder)
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"Another {what} is at work in {folder}: wait for it, or {otherwise}.") from None
    finally:
        os.close(descriptor)


def span(seconds: float) -> str:
    """Words for a time.

    Example:
        >>> span(8.2), span(75), span(4020)
        ('8 s', '1 min 15 s', '1 h 7 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _context() -> Any:  # noqa: ANN401
    """Jobs are forked from a server that has imported what they need and runs no thread: quick, and nothing shared."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medvlp.runs.train", "medvlp.runs.evaluate", __name__, *_PRELOADED])
    return context
