"""Samples a second of the loader at 128 px: filling the cache, reading it, and with the random suffix; one JSON line.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/data_loader.py
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medvlp.data.cache import Cache
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.data.prepare import prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.intensity import Intensity
from medvlp.data.views.read import Read
from medvlp.data.views.sections import Sections
from medvlp.data.views.sentences import Sentences

SAMPLES, LABELS, BATCH = 1000, 12, 64
REPORT = (
    "EXAM: Chest radiograph.\nFINDINGS: The heart is normal in size. There is a small left pleural effusion. No "
    "pneumothorax "
    "is seen. The lungs are otherwise clear. Case {}.\nIMPRESSION: Small left pleural effusion."
)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp())
    draws = np.random.Generator(np.random.Philox(0))
    for i in range(SAMPLES):
        Image.fromarray(draws.integers(0, 256, (256, 256), dtype=np.uint8)).save(root / f"{i}.png")
    columns: dict[str, list[object]] = {
        "id": [f"s{i}" for i in range(SAMPLES)],
        "image": [f"{i}.png" for i in range(SAMPLES)],
        "text": [REPORT.format(i) for i in range(SAMPLES)],
        "id.patient": [f"p{i // 2}" for i in range(SAMPLES)],
        "id.study": [f"t{i}" for i in range(SAMPLES)],
        **{f"label.f{k}": draws.integers(0, 2, SAMPLES).tolist() for k in range(LABELS)},
    }
    manifest = Manifest.of(columns, root=root)
    prefix, cache = [Read(size=128), Sections()], Cache(root / "cache")
    start = time.perf_counter()
    prepared = prepare(manifest, prefix, cache=cache)
    cold = SAMPLES / (time.perf_counter() - start)
    start = time.perf_counter()
    prepared = prepare(manifest, prefix, cache=cache)
    warm = SAMPLES / (time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(SAMPLES):
        prepared.sample(i)
    access_ms = (time.perf_counter() - start) / SAMPLES * 1e3
    sample = prepared.sample(0)
    per_view_us = {}
    for view in (Affine(), Intensity(), Sentences()):
        start = time.perf_counter()
        for i in range(SAMPLES):
            apply_views(sample, [view], draw=i)
        per_view_us[type(view).__name__.lower()] = round((time.perf_counter() - start) / SAMPLES * 1e6)
    full = [Affine(), Intensity(), Sentences()]
    rates: dict[str, dict[str, int]] = {
        "no_suffix_workers_0": _rate(Loader(prepared, [], batch=BATCH, seed=0)),
        "affine_intensity_workers_0": _rate(Loader(prepared, full[:2], batch=BATCH, seed=0)),
        "full_suffix_workers_0": _rate(Loader(prepared, full, batch=BATCH, seed=0)),
        "full_suffix_workers_2": _rate(Loader(prepared, full, batch=BATCH, seed=0, workers=2)),
    }
    told = {
        "benchmark": "data_loader", "n": SAMPLES, "size": 128, "labels": LABELS, "threads": 1,
        "prepare_cold_per_s": round(cold), "prepare_warm_per_s": round(warm), "cached_sample_ms": round(access_ms, 4),
        "view_us": per_view_us, "samples_per_s": rates, "torch": torch.__version__, "python": platform.python_version(),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    print(json.dumps(told))


def _rate(loader: Loader, samples: int = 4096) -> dict[str, int]:
    """Samples a second of wall time, and of this process's CPU time (what an idle core would give)."""
    batches = iter(loader)
    next(batches)
    start, begun = time.perf_counter(), time.process_time()
    seen = 0
    while seen < samples:
        seen += next(batches).size
    return {
        "wall": round(seen / (time.perf_counter() - start)),
        "cpu_of_this_process": round(seen / (time.process_time() - begun)),
    }


if __name__ == "__main__":
    main()
