"""What every benchmark prints besides its result: versions, processors, threads and the load of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

__all__ = [
    "allocated_mib",
    "device_mib",
    "interleaved",
    "interleaved_ms",
    "interleaved_ratio",
    "machine",
    "medians",
    "over",
    "peak_mib",
    "print_report",
]

# Load at the start of the script: what ran beside it, not what it did itself.
_LOAD_BEFORE = os.getloadavg()[0]


def print_report(benchmark: str, *, n: int | Mapping[str, int], packages: tuple[str, ...], **results: object) -> None:
    """Print one JSON line.

    Args:
        benchmark: name of the script.
        n: what was measured on: one count, or counts by what they count.
        packages: distributions whose versions matter.
        results: plain data.
    """
    line = {
        "benchmark": benchmark,
        "n": n,
        **results,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
        "machine": machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_before": round(_LOAD_BEFORE, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(line), flush=True)


def machine() -> str:
    """Return what a number was measured on: processor, its units for matrices, memory, and the GPU if torch has one."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", cpu, re.MULTILINE)
    units = [unit for unit in ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx2") if f" {unit} " in cpu]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [name[1] if name else platform.machine(), f"{os.cpu_count()} cores", *units, f"{gib:.0f} GiB"]
    torch = sys.modules.get("torch")
    return ", ".join(parts + ([torch.cuda.get_device_name()] if torch and torch.cuda.is_available() else []))


def interleaved(
    works: Mapping[str, Callable[[], object]], *, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the milliseconds of each round of several works, run in turn, so that a busy moment meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in works}
    torch = sys.modules.get("torch")
    wait = torch.cuda.synchronize if torch and torch.cuda.is_available() else lambda: None
    for repeat in range(repeats + 1):
        for name, work in works.items():
            wait()
            start = clock()
            work()
            wait()
            if repeat:  # the first round chooses kernels and touches memory
                times[name].append(1000 * (clock() - start))
    return times


def interleaved_ms(
    works: Mapping[str, Callable[[], object]], *, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median milliseconds of several works, run in turn."""
    return medians(interleaved(works, repeats=repeats, clock=clock))


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each work's rounds."""
    return {name: round(statistics.median(spent), 3) for name, spent in times.items()}


def over(times: Mapping[str, list[float]], one: str, other: str) -> dict[str, float]:
    """Return the ratio of two works, round by round: median, least and most."""
    ratios = sorted(a / b for a, b in zip(times[one], times[other], strict=True))
    found = statistics.median(ratios), ratios[0], ratios[-1]
    return dict(zip(("median", "least", "most"), (round(each, 3) for each in found), strict=True))


def interleaved_ratio(works: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, object]:
    """Return the median seconds of works run in turn, and the first one's over each other's: median, least and most.

    Beside wall time stands the processor time of this process, which other programs of a busy machine disturb less.
    """
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start, begun = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - begun)
    first, *others = works
    out: dict[str, object] = {"repeats": repeats}
    for kind, times in (("seconds", wall), ("cpu_seconds", cpu)):
        out[kind] = {name: round(statistics.median(spent), 4) for name, spent in times.items()}
        for other in others:
            out[f"{'' if kind == 'seconds' else 'cpu_'}ratio_to_{other}"] = over(times, first, other)
    return out


def resident(name: str) -> int:
    """Return a number of this process's memory in KiB: VmRSS now, VmHWM the most since it was last forgotten."""
    found = re.search(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def peak_mib(work: Callable[[], object]) -> float:
    """Return how far the resident set rises above its present size."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    work()
    return round((resident("VmHWM") - before) / 1024, 1)


def device_mib(work: Callable[[], object], device: object) -> float:
    """Return the peak above what is held now: what torch holds on a GPU, else the resident set."""
    torch = sys.modules["torch"]
    if torch.device(device).type != "cuda":
        return peak_mib(work)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def allocated_mib(work: Callable[[], object]) -> float:
    """Return the most that torch held at a time beyond what it held before: a sum of allocations, the same each run."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results = profiler.profiler.kineto_results
    events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    held = most = 0
    for event in events:
        held += event.nbytes()
        most = max(most, held)
    return round(most / 2**20, 2)
