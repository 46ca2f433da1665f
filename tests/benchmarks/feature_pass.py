"""Seconds of ``feature_pass`` over the same model driven by hand in a torch DataLoader: same films, views and workers.

From files (views run in the workers) and from the cache (in this process), in pairs, each way first in turn; embeddings
are asserted equal before.

OMP_NUM_THREADS=1 python tests/benchmarks/feature_pass.py runs/quickstart/run [--films 400] [--workers 2] [--pairs 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _report import print_report
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset

from medvlp import load
from medvlp.core.keys import keys
from medvlp.core.registry import build
from medvlp.core.views import View
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.data.prepare import Prepared, prepare
from medvlp.features.feature_pass import feature_pass

BATCH = 128


class Films(Dataset[Tensor]):
    """What somebody writes himself: number -> pixels."""

    def __init__(self, prepared: Prepared, views: Sequence[View]) -> None:
        self.prepared, self.views = prepared, views

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, index: int) -> Tensor:
        pixels = apply_views(self.prepared.sample(index), self.views).fields["image"]
        assert isinstance(pixels, Tensor)
        return pixels


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="folder of a run: bundle and manifest.parquet")
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(options.run / "bundle")
    model = loaded.model.eval()
    whole = Manifest.load(options.run / "manifest.parquet")
    films = whole.take(np.arange(len(whole)) < options.films)
    films = Manifest.of({"id": list(films.column("id")), "image": list(films.column("image"))}, root=films.root)
    views = [
        build("data/views", spec, where="preprocessing")
        for spec in loaded.bundle.preprocessing
        if spec.get("field") == "image"
    ]

    def by_us(prepared: Prepared, left: Sequence[View], workers: int) -> np.ndarray:
        batches = Loader(prepared, left, batch=BATCH, seed=0, workers=workers).once()
        return feature_pass(model, batches, keys("image/embedding"))["image/embedding"]

    def by_hand(prepared: Prepared, left: Sequence[View], workers: int) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for pixels in DataLoader(Films(prepared, left), batch_size=BATCH, num_workers=workers):
                pooled = model.towers["image"](pixels, parts=frozenset({"pooled"}))
                rows.append(normalize(model.heads["image/raw"](pooled, "raw")["raw"]).numpy())
        return np.concatenate(rows)

    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "from_files": (prepare(films, []), views, options.workers),
            "from_cache": (prepare(films, views, cache=Path(folder)), [], 0),
        }
        found = {}
        for name, way in ways.items():
            if not np.allclose(by_us(*way), by_hand(*way), atol=1e-6):
                raise SystemExit(f"{name}: the two embed differently")
            found[name] = _pairs(lambda way=way: by_us(*way), lambda way=way: by_hand(*way), options.pairs)
    counts = {"films": len(films), "pairs": options.pairs, "workers": options.workers, "batch": BATCH}
    print_report("feature_pass", n=counts, packages=("torch", "numpy"), **found)


def _pairs(ours: Callable[[], object], theirs: Callable[[], object], count: int) -> dict[str, object]:
    """Seconds of both, median, and the ratio of each pair: its median, lowest and highest."""
    spent: dict[str, list[float]] = {"ours": [], "by_hand": []}
    for pair in range(count):
        works = [("ours", ours), ("by_hand", theirs)]
        for name, work in works if pair % 2 == 0 else works[::-1]:
            start = time.perf_counter()
            work()
            spent[name].append(time.perf_counter() - start)
    ratios = [mine / hand for mine, hand in zip(spent["ours"], spent["by_hand"], strict=True)]
    told: dict[str, object] = {f"{name}_s": round(statistics.median(each), 3) for name, each in spent.items()}
    return told | {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_lowest": round(min(ratios), 3),
        "ratio_highest": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()
