"""Radiographs of 256 px and CT volumes of 48 x 128 x 128 that the phantom renders a second; one JSON line.

Run: python tests/benchmarks/phantom_render.py
Two processes with one thread each; one voxel body serves both views of a study, and its building is part of the time.
"""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads

import platform
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import scipy

from medvlp.core.memory import keep_freed_memory
from medvlp.core.randomness import numpy_generator
from medvlp.phantom.body import build_body
from medvlp.phantom.ct import render_ct
from medvlp.phantom.facts import FINDINGS, Finding, Patient, Study
from medvlp.phantom.projection import project
from medvlp.phantom.radiograph import DetectorLook, expose
from medvlp.phantom.rules import RULES, draw_extent, lobes_of

PROCESSES, STUDIES, VOLUMES = 2, 96, 24


def study(index: int) -> Study:
    """Return a study with two findings and two views."""
    draw = numpy_generator(0, index, "benchmark")
    findings = []
    for name in (FINDINGS[index % 12], FINDINGS[(5 * index + 3) % 12]):
        rule, extent = RULES[name], draw_extent(RULES[name], draw)
        side = rule.sides[int(draw.integers(len(rule.sides)))][0]
        lobe = (lobes_of(rule, side) or ("",))[0]
        findings.append(Finding(name, side, lobe, extent.severity, extent.size, extent.amount, index))
    person = Patient(f"P{index:06d}", "F" if index % 2 else "M", 30 + index % 60, 170.0, 26.0, "train")
    return Study(
        f"S{index}", person, 0, "20200101", f"A{index}", "north", "N-DR1", ("PA", "LATERAL"), tuple(findings), None
    )


def radiographs(index: int) -> int:
    """Render the films of one study; return how many."""
    case = study(index)
    body = build_body(case, seed=0)
    for view in case.views:
        expose(project(body, view, size=256), DetectorLook(), generator=numpy_generator(0, index, view))
    return len(case.views)


def volume(index: int) -> int:
    """Render the CT of one study; return 1."""
    render_ct(build_body(study(index), seed=0), generator=numpy_generator(0, index, "ct"))
    return 1


def main() -> None:
    """Measure and print."""
    result: dict[str, object] = {
        "benchmark": "phantom_render",
        "processes": PROCESSES,
        "load_before": os.getloadavg()[0],
    }
    with ProcessPoolExecutor(PROCESSES, initializer=keep_freed_memory) as pool:  # as `make_cohort` does
        list(pool.map(radiographs, range(2 * PROCESSES)))  # imports and caches
        for name, work, count in (("radiographs", radiographs, STUDIES), ("volumes", volume, VOLUMES)):
            start = time.perf_counter()
            made = sum(pool.map(work, range(count), chunksize=4))
            seconds = time.perf_counter() - start
            result |= {name: made, f"{name}_per_second": round(made / seconds, 2)}
    result |= {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    print(json.dumps(result | {"cores": os.cpu_count(), "load_after": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
