"""Peak memory and time of embedding one CT of 512 x 512 x 300 int16 voxels with a frozen 2D tower, each in a process.

Slices: `medvlp embed --slices`, a stack file of features. Volume: `medvlp embed --out`, through the cache and a pooler.
Exit 1 where one takes more than 2 GB.

OMP_NUM_THREADS=2 python tests/benchmarks/volume_memory.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from _report import print_report, resident

SHAPE = (512, 512, 300)  # x, y, z
MOST = 2e9
WINDOWS = ("ct_lung_v1", "ct_mediastinum_v1", "ct_bone_v1")
TOWER = {"name": "timm", "architecture": "resnet10t", "image_size": 224, "channels": 3}


def ct_like() -> np.ndarray:
    """A body of soft tissue with noise in air, int16: packs about as a CT does."""
    x, y = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    body = np.where(np.hypot(x / 0.9, y / 0.7) < 1, 40, -1000).astype(np.int16)
    draws = np.random.default_rng(0)
    out = np.empty(SHAPE, np.int16)
    for k in range(SHAPE[2]):
        out[..., k] = body + np.rint(draws.normal(0, 12, SHAPE[:2])).astype(np.int16)
    return out


def write_bundle(folder: Path) -> None:
    """A tower of slices, a pooler and a text tower, untrained."""
    from medvlp.models.build import build_model
    from medvlp.models.bundle import Bundle, save_bundle
    from medvlp.text.wordpiece import train_wordpiece

    words = train_wordpiece(["clear lungs", "nodule"] * 3, vocab_size=64, max_length=16)
    spec = {
        "name": "dual",
        "vision": {"name": "slices", "slice": TOWER},
        "text": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        "heads": {"stack/volume": {"name": "slice_pooler"}, "stack/raw": {"name": "projection", "reads": "volume"}},
    }
    preprocessing = [{"name": "read_volume", "size": 224, "windows": list(WINDOWS)}]
    save_bundle(folder, Bundle(build_model(spec, tokenizer=words).eval(), words, preprocessing=preprocessing))


def child(folder: Path, name: str, what: str) -> None:
    """Embed, and print the peak."""
    os.environ["MEDVLP_CACHE"] = str(folder / f"cache-{name}")
    from medvlp.data.manifest import Manifest

    Manifest.of({"id": ["a"], "volume": [name]}, root=folder).save(folder / f"{name}.parquet")
    begun, used = time.perf_counter(), time.process_time()
    if what == "slices":
        from medvlp.runs.slices import embed_slices

        embed_slices(
            folder / "bundle", folder / f"{name}.parquet", root=folder, folder=folder / "out", windows=[], workers=0
        )
    else:
        from medvlp.runs.embed import embed_manifest

        embed_manifest(folder / "bundle", folder / f"{name}.parquet", root=folder, workers=0)
    peak = 1024 * resident("VmHWM")  # getrusage tells of the process that began this one too
    spent = {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(time.process_time() - used, 1)}
    print(json.dumps({"peak_rss_gb": round(peak / 1e9, 3), **spent}))


def main() -> int:
    """Write the files, embed each in a process of its own, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1], options.child[2])
        return 0
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = nibabel.Nifti1Image(ct_like(), np.diag([-0.7, -0.7, 1.0, 1.0]))
        files = ("ct.nii", "ct.nii.gz")
        for file in files:
            image.to_filename(folder / file)
        write_bundle(folder / "bundle")
        results: dict[str, dict[str, float]] = {}
        for file in files:
            for what in ("slices", "volume"):
                command = [sys.executable, __file__, "--child", str(folder), file, what]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[f"{what} of {file}"] = json.loads(told.splitlines()[-1])
                worst = max(worst, results[f"{what} of {file}"]["peak_rss_gb"])
        print_report(
            "volume_memory",
            n={"volumes": 1, "voxels": int(np.prod(SHAPE)), "slices": SHAPE[2]},
            packages=("torch", "timm", "nibabel", "numpy"),
            megabytes={file: round((folder / file).stat().st_size / 1e6) for file in files},
            allowed_gb=MOST / 1e9,
            embedding=results,
        )
    return int(worst * 1e9 > MOST)


if __name__ == "__main__":
    raise SystemExit(main())
