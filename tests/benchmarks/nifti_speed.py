"""Time to read a NIfTI volume to float32 (z, y, x): ours over MONAI's LoadImage, values and places equal first.

OMP_NUM_THREADS=1 python tests/benchmarks/nifti_speed.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
from _report import interleaved_ms, print_report
from monai.transforms import LoadImage

from medvlp.io import read_volume

SHAPE = (256, 256, 96)  # x, y, z


def ct_like() -> np.ndarray:
    """A body of soft tissue with noise in air, int16: packs about as a CT does."""
    x, y = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    body = np.where(np.hypot(x / 0.9, y / 0.7) < 1, 40.0, -1000.0)[..., None]
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    return np.rint(body + noise).astype(np.int16)


def main() -> None:
    """Write both files, check, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    affine = np.array([[-0.8, 0, 0, 100], [0, 0.8, 0, -90], [0, 0, 1.5, -300], [0, 0, 0, 1]])
    load = LoadImage(reader="NibabelReader", image_only=True, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ct.nii", "ct.nii.gz"):
            path = Path(folder, name)
            nibabel.Nifti1Image(ct_like(), affine).to_filename(path)
            ours, theirs = read_volume(path), load(path)
            if not (ours.voxels == np.asarray(theirs).T).all() or not np.allclose(
                np.asarray(ours.affine), theirs.affine
            ):
                raise SystemExit(f"{name}: the two readers disagree")

            def monai(path: Path = path) -> np.ndarray:
                return np.ascontiguousarray(np.asarray(load(path)).T)

            spent = interleaved_ms({"ours": lambda p=path: read_volume(p).voxels, "monai": monai}, repeats=repeats)
            print_report(
                "nifti_speed",
                n={"voxels": int(np.prod(SHAPE)), "repeats": repeats},
                packages=("monai", "nibabel", "isal", "numpy"),
                file=name,
                megabytes=round(path.stat().st_size / 1e6, 1),
                median_ms=spent,
                ratio=round(spent["ours"] / spent["monai"], 3),
            )


if __name__ == "__main__":
    main()
