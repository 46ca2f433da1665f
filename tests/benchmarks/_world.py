"""Processes of one gloo world, each of which runs the same function."""

from __future__ import annotations

import multiprocessing
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

__all__ = ["in_world"]


def in_world(work: Callable[..., object], world: int, *arguments: object) -> Any:
    """Return what `work(*arguments)` returns on the first of `world` new processes; it runs on all of them."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    here, there = context.Pipe()
    given = world, port, there, work, arguments
    workers = [context.Process(target=_process, args=(rank, *given), daemon=True) for rank in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("A process failed: its message stands above.")
    return here.recv()


def _process(
    rank: int, world: int, port: int, connection: Any, work: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=world)
    found = work(*arguments)
    if rank == 0:
        connection.send(found)
    dist.barrier()
    dist.destroy_process_group()
