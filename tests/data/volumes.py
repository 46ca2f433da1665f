"""Small CT volumes on disk, of different depth, spacing and packing, with reports."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from medvlp.data.manifest import Manifest

DEPTHS = (5, 9, 3, 12, 1, 7)


def write_ct(path: Path, depth: int, *, seed: int = 0, size: tuple[int, int] = (20, 16), step: float = 3.0) -> None:
    """Write noise in Hounsfield units, axes to the left, the back and the head."""
    voxels = np.random.default_rng(seed).integers(-1100, 1500, (*size, depth)).astype(np.int16)
    affine = np.diag([-0.8, -0.8, step, 1.0])
    affine[:3, 3] = (50, 40, -100 + seed)
    nibabel.Nifti1Image(voxels, affine).to_filename(path)


def volume_cohort(root: Path, depths: tuple[int, ...] = DEPTHS) -> Manifest:
    """One row a volume, packed and plain in turn; two rows a patient."""
    root.mkdir(exist_ok=True)
    names = [f"v{i}.nii{'.gz' if i % 2 else ''}" for i in range(len(depths))]
    for i, (name, depth) in enumerate(zip(names, depths, strict=True)):
        if not (root / name).exists():
            write_ct(root / name, depth, seed=i, step=1.0 + i)
    columns: dict[str, list[object]] = {
        "id": [f"s{i}" for i in range(len(depths))],
        "volume": list(names),
        "text": [f"FINDINGS: Fact {i}." for i in range(len(depths))],
        "id.patient": [f"p{i // 2}" for i in range(len(depths))],
        "label.nodule": [i % 2 for i in range(len(depths))],
    }
    return Manifest.of(columns, root=root)
