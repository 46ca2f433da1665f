"""How time and memory grow with rows, processes, records and slices: curves, and the exponents fitted to them.

    OMP_NUM_THREADS=1 python tests/benchmarks/scaling.py OUT [--only loss processes records slices]

Each curve is measured from its smallest to its largest size; OUT keeps the points, so that a curve can be made again
alone. Then scaling.json (for docs/results) and scaling.svg (for docs/assets) are written there. Time is processor time,
of all processes together where there are several. An exponent is the slope of a straight line through the logarithms
of size and measure: once through all points, once through the last two, where fixed costs weigh least.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from _report import allocated_mib, interleaved_ms, machine
from _world import in_world
from contrast_speed import SCALE, TILE, WIDTH, Ours
from shards_scale import picture, write_manifest
from siglip_speed import measured, our_works
from volume_memory import SHAPE, ct_like, write_bundle

from medvlp.core.files import write_text

ROWS, WORLDS, EACH = (512, 1024, 2048, 4096, 8192, 16384), (1, 2, 4), 512
RECORDS, SLICES = (10**4, 10**5, 10**6, 10**7), (32, 64, 128, 256)
DENSE_MOST = 8192  # rows whose whole matrices, forward and backward, fit a small machine
UNITS = {"seconds": "processor s", "mib": "MiB"}
Points = dict[str, dict[str, dict[str, float]]]  # curve -> size -> measure -> value


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return b of the line ``log value = a + b log size`` by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def loss_curve(folder: Path) -> Points:
    """Forward and backward of `clip` on one process, its scores whole and by tiles."""
    found: Points = {"loss, whole matrix": {}, "loss, by tiles": {}}
    for rows in ROWS:
        draws = torch.Generator().manual_seed(rows)
        sides = [F.normalize(torch.randn(rows, WIDTH, generator=draws), dim=1).requires_grad_() for _ in range(2)]
        inputs = *sides, torch.tensor(SCALE, requires_grad=True)
        for name, entries in (("loss, whole matrix", rows * rows), ("loss, by tiles", TILE)):
            if name == "loss, by tiles" or rows <= DENSE_MOST:
                work = partial(Ours(rows, entries), *inputs)
                ms = interleaved_ms({name: work}, repeats=max(3, 2**13 // rows), clock=time.process_time)
                found[name][str(rows)] = {"seconds": ms[name] / 1000, "mib": allocated_mib(work)}
    return found


def one_of_world(rows: int) -> dict[str, float]:
    """On each process as many rows of its own: `siglip` against the rows of all, passed round."""
    work = our_works(rows)[2]["ours"]
    return {
        "seconds": round(median(measured({"ours": work}, 9)["ours"]["cpu_ms"]), 2) / 1000,
        "mib": allocated_mib(work),
    }


def processes_curve(folder: Path) -> Points:
    """Forward and backward of `siglip` in a ring of several processes; memory is that of the first."""
    return {"processes": {str(world): in_world(one_of_world, world, EACH) for world in WORLDS}}


def records_curve(folder: Path) -> Points:
    """From the manifest's file to the first batch of texts, in a process of its own that has opened it before."""
    found: dict[str, dict[str, float]] = {}
    for count in RECORDS:
        write_manifest(folder / "rows.parquet", count, size=len(picture()))
        for _ in ("first", "again"):
            script = Path(__file__).parent / "shards_scale.py"
            made = json.loads(_child(folder, [str(script), "--out", str(folder), "--one", "rows"]))
        seconds, gigabytes = made["processor_seconds"], made["start"]["anonymous"]
        found[str(count)] = {"seconds": seconds, "mib": round(1e9 * gigabytes / 2**20)}
        (folder / "rows.parquet").unlink()
    return {"records": found}


def slices_curve(folder: Path) -> Points:
    """One CT embedded slice by slice in a process of its own; memory is its peak, Python and torch among it."""
    voxels, found = ct_like(), {}
    for count in SLICES:
        place = folder / f"slices-{count}"
        write_bundle(place / "bundle")
        nibabel.Nifti1Image(voxels[..., :count], np.diag([-0.7, -0.7, 1.0, 1.0])).to_filename(place / "ct.nii")
        script = Path(__file__).parent / "volume_memory.py"
        made = json.loads(_child(place, [str(script), "--child", str(place), "ct.nii", "slices"]))
        found[str(count)] = {"seconds": made["cpu_seconds"], "mib": round(1e9 * made["peak_rss_gb"] / 2**20)}
        shutil.rmtree(place)
    return {"slices": found}


def _child(folder: Path, arguments: list[str]) -> str:
    environment = {**os.environ, "MEDVLP_CACHE": str(folder / "cache")}
    ran = subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.splitlines()[-1]


CURVES = {"loss": loss_curve, "processes": processes_curve, "records": records_curve, "slices": slices_curve}


def document(points: Points) -> dict[str, object]:
    """Return what the page is rendered from."""
    rows = []
    for curve, found in sorted(points.items()):
        sizes, last = [float(size) for size in found], list(found)[-2:]
        for measure in UNITS:
            values = [each[measure] for each in found.values()]
            whole, end = exponent(sizes, values), exponent(sizes[-2:], values[-2:])
            rows.append([curve, UNITS[measure], int(sizes[0]), values[0], int(last[-1]), values[-1], whole, end])
    return {
        "title": "How time and memory grow",
        "benchmark": "tests/benchmarks/scaling.py",
        "command": "OMP_NUM_THREADS=1 python tests/benchmarks/scaling.py OUT",
        "n": {"numbers a row": WIDTH, "rows of each process": EACH, "voxels of a slice": SHAPE[0] * SHAPE[1]},
        "seed": 0,
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "pyarrow", "nibabel")},
        "facts": {"tile": f"{TILE:,}"},
        "tables": {
            "growth": {
                "columns": [
                    "of", "measure", "from", "value", "to", "value", "exponent, all points", "exponent, last two",
                ],
                "digits": 2,
                "rows": rows,
            }
        },
        "points": points,
    }  # fmt: skip


def draw(points: Points, path: Path) -> None:
    """Draw time and memory of each curve over its size, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    figure, panels = pyplot.subplots(2, 4, figsize=(13, 5), layout="constrained")
    groups: Mapping[str, Sequence[str]] = {
        "rows of each side": [name for name in points if name.startswith("loss")],
        "processes": ["processes"],
        "records": ["records"],
        "slices": ["slices"],
    }
    for column, (size, curves) in enumerate(groups.items()):
        for panel, measure, unit in zip(panels[:, column], UNITS, UNITS.values(), strict=True):
            for name in curves:
                x = [float(each) for each in points[name]]
                panel.loglog(x, [each[measure] for each in points[name].values()], marker="o", label=name)
            low, high = panel.get_ylim()
            middle = (low * high) ** 0.5  # at least a decade, so that what hardly grows looks flat
            panel.set(xlabel=size, ylabel=unit, ylim=(min(low, middle / 10**0.5), max(high, middle * 10**0.5)))
            longest = max((points[name] for name in curves), key=len)
            panel.set_xticks([float(each) for each in longest], labels=[f"{int(each):,}" for each in longest])
            panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            panel.tick_params(axis="x", labelsize=7)
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.grid(visible=True, alpha=0.3)
        if len(curves) > 1:
            panels[0, column].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure what is asked for, then write page numbers and picture of all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "points.json"
    points: Points = json.loads(stored.read_text()) if stored.is_file() else {}
    for name in options.only:
        measured_now = CURVES[name](options.out)
        points |= measured_now
        write_text(stored, json.dumps(points))
        print(json.dumps({"benchmark": f"scaling {name}", **measured_now}), flush=True)
    draw(points, options.out / "scaling.svg")
    write_text(options.out / "scaling.json", json.dumps(document(points), indent=1) + "\n")


if __name__ == "__main__":
    main()
