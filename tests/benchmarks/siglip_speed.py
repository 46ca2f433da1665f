"""The objective `siglip` against open_clip's SigLipLoss on several processes: time and memory, one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/siglip_speed.py [--rows 512] [--processes 2 4] [--repeats 9]

As many rows on every process, gloo, one thread each. Ours is the objective as a task calls it, on a context that learns
from one message who holds which report: with ``ring``, and as `ours_gather` without it. Theirs is the peer's own class:
in its default form, which passes texts round between neighbours both ways, and for comparison also passing them one
way, and gathering them. Gradients of own images and texts are asserted equal before anything is timed, then all run
forward and backward in turn. Times are medians: of the wall clock between two barriers, and of the processor time of
all processes together, which other programs disturb less. Memory is what torch holds at most beyond the inputs, on the
first process.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from _report import allocated_mib, medians, over, print_report
from _world import in_world
from open_clip.loss import SigLipLoss
from torch import Tensor

from medvlp.core import Batch, Context, Part, collectives
from medvlp.core.keys import parse_key
from medvlp.core.step_index import Exchange
from medvlp.models.scale import LogitScale
from medvlp.objectives.siglip import Siglip

WIDTH, SCALE, BIAS = 512, 10.0, -10.0
Work = Callable[[], tuple[Tensor, ...]]


def ours(
    siglip: Siglip, batch: Batch, exchange: Exchange, scale: LogitScale, image: Tensor, text: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of own rows and of the scale and bias, as this process has them before the mean over all."""
    owner = torch.arange(len(image))
    parts = {parse_key("image/embedding"): Part(image, owner), parse_key("text/embedding"): Part(text, owner)}
    term = siglip(Context(parts=parts, batch=batch, scale=scale, exchange=exchange))["pairs"]
    loss = collectives.world_size() * term.sum / collectives.total(term.count)
    found = torch.autograd.grad(loss, [image, text, *scale.parameters()])
    return *found[:2], found[2][0] / scale.value[0].detach(), found[3][0]  # of the scale, not of its logarithm


def our_works(rows: int) -> tuple[Tensor, Tensor, dict[str, Work]]:
    """Return a process's own images and texts, and `ours` on them, in a ring and gathered."""
    rank = collectives.rank()
    draws = torch.Generator().manual_seed(rank)
    image, text = (F.normalize(torch.randn(rows, WIDTH, generator=draws), dim=1).requires_grad_() for _ in range(2))
    batch = Batch.of({"text": [f"report {rank * rows + i}" for i in range(rows)]}, first=rank * rows)
    scale = LogitScale(init=SCALE, bias=BIAS)
    forms = {"ours": Siglip(ring=True), "ours_gather": Siglip()}
    works = {name: partial(ours, each, batch, Exchange(), scale, image, text) for name, each in forms.items()}
    return image, text, works


def theirs(loss: SigLipLoss, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Return the same of the peer's loss."""
    return torch.autograd.grad(loss(image, text, scale, bias), [image, text, scale, bias])


def measured(works: dict[str, Work], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds of each round of each work, run in turn on all processes."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    spent: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            dist.barrier()
            start, used = time.perf_counter(), time.process_time()
            work()
            cpu = torch.tensor(time.process_time() - used)
            dist.barrier()
            if repeat:
                wall[name].append(1000 * (time.perf_counter() - start))
                spent[name].append(1000 * float(collectives.total(cpu)))
    return {name: {"wall_ms": wall[name], "cpu_ms": spent[name]} for name in works}


def compared(rows: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Check and measure on one of the processes."""
    rank, world = collectives.rank(), collectives.world_size()
    image, text, works = our_works(rows)
    scale, bias = (torch.tensor(each, requires_grad=True) for each in (SCALE, BIAS))
    for name, form in (("peer", "bidir"), ("peer_shift", "shift"), ("peer_gather", "gather")):
        loss = SigLipLoss(rank=rank, world_size=world, dist_impl=form)
        works[name] = partial(theirs, loss, image, text, scale, bias)
    found = {name: work() for name, work in works.items()}
    for name in list(found)[1:]:
        for got, wanted in zip(found["ours"], found[name], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-7)
    mib = {name: allocated_mib(work) for name, work in works.items()}
    result = measured(works, repeats)
    return {name: {**result[name], "mib": mib[name]} for name in works}


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[512])
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found: dict[str, object] = {}
    for world in arguments.processes:
        for rows in arguments.rows:
            result = in_world(compared, world, rows, arguments.repeats)
            shown = {name: {"mib": each["mib"]} for name, each in result.items()}
            ratio: dict[str, object] = {}
            for name in ("ours", "ours_gather"):
                ratio[f"{name}_mib"] = round(result[name]["mib"] / result["peer"]["mib"], 3)
            for clock in ("wall_ms", "cpu_ms"):
                times = {name: each[clock] for name, each in result.items()}
                ratio |= {f"{name}_{clock}": over(times, name, "peer") for name in ("ours", "ours_gather")}
                for name, middle in medians(times).items():
                    shown[name][clock] = middle
            found[f"{world} processes, {rows} rows each"] = {**shown, "over_peer": ratio}
    n = {"width": WIDTH, "repeats": arguments.repeats}
    print_report("siglip_speed", n=n, packages=("torch", "open_clip_torch"), results=found)


if __name__ == "__main__":
    main()
