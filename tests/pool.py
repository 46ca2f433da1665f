"""Processes that are started once and then run functions as the ranks of a gloo group.

A function is sent as (file, name), so it must stand at the top of its module; arguments and results travel as tensors,
numbers, strings and containers of them (``torch.save`` read with ``weights_only=True``): anything else is refused.
All folders of tests share the processes; a conftest.py asks for them with

    @pytest.fixture
    def pool() -> Pool:
        return shared_pool()

and a test marked ``pool`` calls ``pool.run(2, function, *arguments)``.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import inspect
import io
import itertools
import multiprocessing
import multiprocessing.connection
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from tests.seeds import start

MEETING = timedelta(seconds=300)  # for ranks that have all loaded the function; also how long a collective may wait
ANSWER = 900.0  # seconds in which a call ends: after those of its collectives, whose error says more
ATTEMPTS = 3  # of meeting


class Pool:
    """Up to `size` processes; started afresh after a failure, since the other ranks may hang in a collective."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._processes: list[Any] = []
        self._pipes: list[Any] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._calls = itertools.count()

    def run(self, world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call ``function(*arguments)`` on `world_size` ranks of a fresh process group; results in rank order.

        Ranks that did not meet are replaced and meet again, since nothing of the function has run; what fails
        afterwards fails for good.
        """
        if not 1 <= world_size <= self.size:
            raise ValueError(f"world_size is {world_size}: the pool has {self.size} processes.")
        task = (inspect.getfile(function), function.__module__, function.__qualname__)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._call(world_size, task, arguments)
            except _NotMetError as error:
                if attempt == ATTEMPTS:
                    raise RuntimeError(f"The ranks did not meet in {ATTEMPTS} attempts. {error}") from error
                warnings.warn(f"Attempt {attempt} of {ATTEMPTS} to meet failed. {error}", stacklevel=2)
        raise AssertionError

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._pipes = [], []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _call(self, world_size: int, task: tuple[str, str, str], arguments: tuple[Any, ...]) -> list[Any]:
        try:
            if not all(process.is_alive() for process in self._processes):
                self.close()  # one that died unasked
            if not self._processes:
                self._start()
            assert self._folder is not None
            # A file a call, none of them removed while the processes live: a store whose folder goes as the store
            # ends waits for the folder until its timeout, and then aborts its process.
            store = f"file://{self._folder.name}/{next(self._calls)}"
            for rank, pipe in enumerate(self._pipes[:world_size]):
                with contextlib.suppress(BrokenPipeError):  # died just now: told as the end of what it says
                    pipe.send_bytes(_pack((*task, store, rank, world_size, arguments)))
            return self._collect(world_size)
        except BaseException:
            self.close()  # of an interrupt too: a later call must not read the answers of this one
            raise

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="pool-")
        for _ in range(self.size):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self, world_size: int) -> list[Any]:
        """Read what each rank says, ``met`` and then its answer, until all have answered or one has failed."""
        waiting = {pipe: rank for rank, pipe in enumerate(self._pipes[:world_size])}
        met: set[int] = set()
        results: dict[int, Any] = {}
        failed: dict[int, str] = {}
        serious = False
        until = time.monotonic() + ANSWER
        while waiting and not failed:
            if not multiprocessing.connection.wait(list(waiting), until - time.monotonic()):
                failed, serious = dict.fromkeys(waiting.values(), f"no answer in {ANSWER:.0f} s"), True
            # All that was said by now: a rank that lost its peer may be heard before the peer that fell.
            for pipe, rank in list(waiting.items()):
                while pipe in waiting and pipe.poll():
                    said, value = _heard(pipe)
                    if said == "met":
                        met.add(rank)
                        continue
                    del waiting[pipe]
                    (results if said == "answer" else failed)[rank] = value
                    serious |= said == "failed" or (said == "died" and rank in met)
        if failed:
            words = "\n".join(f"Rank {rank} of {world_size} failed:\n{failed[rank]}" for rank in sorted(failed))
            raise RuntimeError(words) if serious else _NotMetError(words)
        return [results[rank] for rank in range(world_size)]


class _NotMetError(RuntimeError):
    """Ranks failed before they met the others, in no line of the function's."""


def _heard(pipe: Any) -> tuple[str, Any]:
    """Return one of met, answer, apart (of the others), failed and died, and what goes with it."""
    try:
        return _unpack(pipe.recv_bytes())
    except (EOFError, ConnectionResetError):
        return "died", "the process died"


@cache
def shared_pool() -> Pool:
    """Return the pool of this test run; its processes start with the first call of `run` and end with the run."""
    pool = Pool()
    atexit.register(pool.close)
    return pool


def _serve(pipe: Any) -> None:
    """Answer calls until the parent closes its end."""
    import os

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    if sys.platform == "linux":
        # A sandbox may not resolve its own host name; the loopback is all that these processes need.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    while True:
        try:
            path, module, name, store, rank, world_size, arguments = _unpack(pipe.recv_bytes())
        except EOFError:
            return
        said = "failed"
        try:
            function = _function(path, module, name)  # before they meet: on a busy machine its imports take long
            said = "apart"
            dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size, timeout=MEETING)
            said = "failed"
            pipe.send_bytes(_pack(("met", None)))
            start(name)
            answer = _pack(("answer", function(*arguments)))
            dist.barrier()
        except Exception:
            answer = _pack((said, traceback.format_exc()))
        # Told before the group ends: its end makes the other ranks fail, and the cause must not come after them.
        with contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(answer)
        if dist.is_initialized():
            dist.destroy_process_group()


def _function(path: str, module: str, name: str) -> Callable[..., Any]:
    """Find a function by its module's name if the module is importable here, else by its file."""
    if module not in sys.modules:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            found = None
        if found is None or Path(str(found.__file__)).resolve() != Path(path).resolve():
            spec = importlib.util.spec_from_file_location(module, path)
            assert spec is not None
            assert spec.loader is not None
            found = importlib.util.module_from_spec(spec)
            sys.modules[module] = found
            spec.loader.exec_module(found)
    return getattr(sys.modules[module], name)


def _pack(value: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpack(data: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(data), weights_only=True)
