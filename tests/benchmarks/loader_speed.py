"""Samples a second of the cached loader against MONAI's `PersistentDataset`, on the same files; one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/loader_speed.py [--samples 1000] [--size 256] [--workers 2]

Gray PNG files become (1, S, S) float32 pixels in [0, 1], kept on disk at the first pass (cold) and read at the next
(warm), in batches, by as many processes; then with 14 labels beside them, which are columns of ours and one vector
of the peer's; then with a random rotation, scaling and shift of each side's own. The pixels of both are asserted
equal before anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from _report import print_report
from monai.data import DataLoader, PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandAffined, ScaleIntensityRanged
from PIL import Image
from torch import Tensor

from medvlp.data.cache import Cache
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.read import Read

BATCH, LABELS = 64, 14
CASES = {
    "": {"random": False, "labels": 0},
    " with labels": {"random": False, "labels": LABELS},
    " with affine": {"random": True, "labels": 0},
}
Epoch = Callable[[], Iterator[Tensor]]


def files(root: Path, samples: int, size: int) -> list[Path]:
    """Write as many pictures with soft shapes, which compress as radiographs do."""
    draws = np.random.Generator(np.random.Philox(0))
    made = []
    for i in range(samples):
        coarse = Image.fromarray(draws.integers(0, 256, (size // 16, size // 16), dtype=np.uint8))
        made.append(root / f"{i}.png")
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(made[-1])
    return made


def prepared(paths: list[Path], cache: Path, *, size: int, workers: int, labels: int = 0) -> Prepared:
    """Return the pictures, from the cache where they are in it."""
    columns = {"id": [p.stem for p in paths], "image": [p.name for p in paths]}
    columns |= {f"label.f{i}": [1.0] * len(paths) for i in range(labels)}
    return prepare(Manifest.of(columns, root=paths[0].parent), [Read(size=size)], cache=Cache(cache), workers=workers)


def ours(paths: list[Path], cache: Path, *, size: int, workers: int, random: bool, labels: int) -> Epoch:
    """Return what yields the pixels of epoch after epoch."""

    def epoch() -> Iterator[Tensor]:
        suffix = [Affine(probability=1.0)] if random else []
        found = prepared(paths, cache, size=size, workers=workers, labels=labels)
        loader = Loader(found, suffix, batch=BATCH, seed=0, workers=workers)
        yield from (batch["image"].values for batch in loader)

    return epoch


def steps(size: int, *, random: bool) -> Compose:
    """Return MONAI's transforms for the same pixels."""
    plain = [
        LoadImaged("image", reader="PILReader", image_only=True, reverse_indexing=False),
        EnsureChannelFirstd("image", channel_dim="no_channel"),
        ScaleIntensityRanged("image", 0, 255, 0, 1),
    ]
    moved = RandAffined("image", prob=1.0, rotate_range=0.09, translate_range=size // 25, scale_range=0.05)
    return Compose([*plain, moved] if random else plain)


def theirs(paths: list[Path], cache: Path, *, size: int, workers: int, random: bool, labels: int) -> Epoch:
    """Return the same by MONAI."""
    beside = {"label": np.ones(labels, np.float32)} if labels else {}
    items = [{"image": str(path), **beside} for path in paths]
    data = PersistentDataset(items, steps(size, random=random), cache_dir=cache)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (batch["image"] for _ in count() for batch in loader)


def same(paths: list[Path], found: Prepared, size: int) -> None:
    """Refuse to go on if a picture differs between the two."""
    plain = steps(size, random=False)
    for i, path in enumerate(paths):
        np.testing.assert_allclose(
            np.asarray(found.sample(i).fields["image"]), plain({"image": path})["image"], atol=1e-6
        )


def rates(epochs: Iterator[Tensor], samples: int, *, warm: int) -> dict[str, float]:
    """Return samples a second of the first epoch, processes started, and of `warm` further ones, in one stream."""
    found, start, seen = {}, time.perf_counter(), 0
    for pixels in epochs:
        seen += len(pixels)
        if seen >= samples and "cold" not in found:
            found["cold"] = seen / (time.perf_counter() - start)
            start, seen = time.perf_counter(), 0
        elif "cold" in found and seen >= warm * samples:
            return {**found, "warm": seen / (time.perf_counter() - start)}
    raise AssertionError("the stream ended early")


def main() -> None:
    """Compare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp())
    paths = files(root, asked.samples, asked.size)
    how = {"size": asked.size, "workers": asked.workers}
    same(paths[:32], prepared(paths[:32], root / "check", **how), asked.size)
    measured: dict[str, dict[str, list[float]]] = {}
    for turn in range(asked.rounds):
        for case, what in CASES.items():
            for name, make in (("medvlp", ours), ("monai", theirs)):
                epochs = make(paths, root / f"{name}-{turn}-{case}", **what, **how)
                for state, value in rates(epochs(), asked.samples, warm=4).items():
                    key = f"{state}{case}"
                    measured.setdefault(key, {}).setdefault(name, []).append(value)
    found = {
        key: {
            "samples_per_s": {name: round(float(np.median(values))) for name, values in sides.items()},
            "ratio": [round(a / b, 2) for a, b in zip(sides["medvlp"], sides["monai"], strict=True)],
        }
        for key, sides in measured.items()
    }
    print_report(
        "loader_speed",
        n={
            "samples": asked.samples,
            "size": asked.size,
            "workers": asked.workers,
            "batch": BATCH,
            "rounds": asked.rounds,
        },
        packages=("torch", "monai"),
        rates=found,
    )


if __name__ == "__main__":
    main()
