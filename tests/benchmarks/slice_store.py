"""Time to get 32 slices of a CT of 512 x 512 x 300: from the cache, or from ``.nii``, over MONAI's LoadImage and crop.

What is compared is asserted equal first: raw slices with those that MONAI's array holds, cached ones with what the same
windows, resizing and rounding make of MONAI's; MONAI's time is that of loading and cropping alone. Building time and
size of the cache stand beside it. Exit 1 where a ratio is above 0.15.

OMP_NUM_THREADS=1 python tests/benchmarks/slice_store.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
import torch
from _report import interleaved_ms, print_report
from monai.transforms import LoadImage
from volume_memory import SHAPE, WINDOWS, ct_like

from medvlp.data.cache import Cache, cache_info
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.quantise import quantise
from medvlp.data.stacks import LazyStack
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.sample_slices import SampleSlices
from medvlp.io import open_slices, resize_pad, window

MOST = 0.15
COUNT, SIZE = 32, 224


def main() -> int:
    """Write the file, build the cache, check, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    load = LoadImage(reader="NibabelReader", image_only=True, dtype=np.float32)
    draw = SampleSlices(count=COUNT, how="jittered")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ct.nii"
        nibabel.Nifti1Image(ct_like(), np.diag([-0.7, -0.7, 1.0, 1.0])).to_filename(path)
        # Along the patient's left, back and head: the array's own order, so that slices hang as they are.
        manifest = Manifest.of({"id": ["a"], "volume": ["ct.nii"]}, root=folder)
        cache = Cache(folder / "cache")
        begun = time.perf_counter()
        prepared = prepare(manifest, [ReadVolume(size=SIZE, windows=WINDOWS)], cache=cache)
        built = time.perf_counter() - begun

        def stored() -> LazyStack:
            stack = prepared.sample(0).fields["stack"]
            assert isinstance(stack, LazyStack)
            return stack

        index = draw.choose(stored().position, torch.Generator().manual_seed(0))
        theirs = np.asarray(load(path))[..., index].transpose(2, 1, 0)
        if len(index) != COUNT or not np.array_equal(open_slices(path).read(index), theirs):
            raise SystemExit("the two readers disagree")
        shown = np.stack([np.stack([resize_pad(window(each, n), SIZE).pixels for n in WINDOWS]) for each in theirs])
        if not torch.equal(stored().take(index).pixels, quantise(torch.from_numpy(shown), 8)):
            raise SystemExit("the cache disagrees with what the views make of MONAI's array")
        spent = interleaved_ms(
            {
                "cache": lambda: stored().take(index).pixels,
                "nii": lambda: open_slices(path).read(index),
                "monai": lambda: np.ascontiguousarray(np.asarray(load(path))[..., index]),
            },
            repeats=repeats,
        )
        ratios = {way: round(spent[way] / spent["monai"], 4) for way in ("cache", "nii")}
        (pool,) = cache_info(cache).pools
        print_report(
            "slice_store",
            n={"slices": COUNT, "of": SHAPE[2], "voxels": int(np.prod(SHAPE)), "repeats": repeats},
            packages=("monai", "nibabel", "torch", "numpy"),
            median_ms=spent,
            ratio=ratios,
            allowed=MOST,
            cache={
                "seconds_to_build": round(built, 1),
                "megabytes": round(pool.bytes / 1e6, 1),
                "file_megabytes": round(path.stat().st_size / 1e6, 1),
                "channels": len(WINDOWS),
                "size": SIZE,
            },
        )
    return int(max(ratios.values()) > MOST)


if __name__ == "__main__":
    raise SystemExit(main())
