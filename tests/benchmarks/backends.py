"""Engines that compute an image tower, against torch: milliseconds an image and agreement, one JSON line.

    python tests/benchmarks/backends.py BUNDLE [--images 1000] [--batch 32]

The same random pictures, in the same process, in turn; of a bundle with towers in 8 bits (`medvlp quantise`) those too.
"""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _report import interleaved, medians, over, print_report

from medvlp.models.backends.compiled import BACKENDS, use_backend
from medvlp.models.bundle import load_bundle


def encode(tower: Any, pictures: torch.Tensor, batch: int) -> torch.Tensor:
    """Return the pooled rows of all pictures."""
    with torch.inference_mode():
        return torch.cat([tower(some, parts=frozenset({"pooled"})).pooled for some in pictures.split(batch)])


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    int8 = load_bundle(options.bundle).int8
    there = [name for name in BACKENDS if (int8 if name == "int8" else name == "torch" or find_spec(name))]
    models = {name: load_bundle(options.bundle).model for name in there}
    for name, model in models.items():
        use_backend(model, name, int8)
    towers = {name: model.towers["image"] for name, model in models.items()}
    tower = towers["torch"]
    shape = (options.images, tower.channels, tower.image_size, tower.image_size)
    pictures = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    rows = {name: encode(each, pictures, options.batch) for name, each in towers.items()}
    cosine = {
        name: round(torch.nn.functional.cosine_similarity(each, rows["torch"]).min().item(), 6)
        for name, each in rows.items()
    }
    spent = interleaved({n: partial(encode, t, pictures, options.batch) for n, t in towers.items()}, repeats=5)
    times = {f"torch_over_{name}": over(spent, "torch", name) for name in there if name != "torch"}
    each = {name: round(ms / options.images, 3) for name, ms in medians(spent).items()}
    packages = tuple(name for name in there if name != "int8")
    print_report(
        "backends", n={"images": options.images, "batch": options.batch}, packages=packages,
        ms_an_image=each, least_cosine=cosine, **times,
    )  # fmt: skip


if __name__ == "__main__":
    main()
