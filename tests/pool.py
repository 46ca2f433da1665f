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
import multiprocessing
import multiprocessing.connection
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

SIZE = 4


class Pool:
    """Up to `SIZE` processes; started afresh after a failure, since the other ranks may hang in a collective."""

    def __init__(self) -> None:
        self._processes: list[Any] = []
        self._pipes: list[Any] = []

    def run(self, world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call ``function(*arguments)`` on `world_size` ranks of a fresh process group; results in rank order."""
        if not 1 <= world_size <= SIZE:
            raise ValueError(f"world_size is {world_size}: the pool has {SIZE} processes.")
        if not self._processes:
            self._start()
        task = (inspect.getfile(function), function.__module__, function.__qualname__)
        with tempfile.TemporaryDirectory() as folder:
            for rank, pipe in enumerate(self._pipes[:world_size]):
                pipe.send_bytes(_pack((*task, f"file://{folder}/store", rank, world_size, arguments)))
            return self._collect(world_size)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        for _ in range(SIZE):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self, world_size: int) -> list[Any]:
        waiting = {pipe: rank for rank, pipe in enumerate(self._pipes[:world_size])}
        results: list[Any] = [None] * world_size
        while waiting:
            for pipe in multiprocessing.connection.wait(list(waiting)):
                rank = waiting.pop(pipe)
                try:
                    good, value = _unpack(pipe.recv_bytes())
                except EOFError:
                    good, value = False, "the process died"
                if not good:
                    told = {rank: value, **self._failures(waiting)}
                    self.close()
                    words = (f"Rank {each} of {world_size} failed:\n{told[each]}" for each in sorted(told))
                    raise RuntimeError("\n".join(words))
                results[rank] = value
        return results

    @staticmethod
    def _failures(waiting: dict[Any, int]) -> dict[int, str]:
        """Return what else has failed by now: a rank that lost its peer may be heard before the peer that fell."""
        failures: dict[int, str] = {}
        for pipe, rank in waiting.items():
            if pipe.poll():
                with contextlib.suppress(EOFError):
                    good, value = _unpack(pipe.recv_bytes())
                    if not good:
                        failures[rank] = value
        return failures


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
        try:
            dist.init_process_group(
                "gloo", init_method=store, rank=rank, world_size=world_size, timeout=timedelta(seconds=120)
            )
            answer = _pack((True, _function(path, module, name)(*arguments)))
            dist.barrier()
        except Exception:
            answer = _pack((False, traceback.format_exc()))
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
