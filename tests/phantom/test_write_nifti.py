"""Volumes go to disk with their place in space, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.write_study import ras_affine, write_nifti


def test_voxels_and_world_positions_come_back(tmp_path: Path) -> None:
    voxels = numpy_generator(0, 0, "test.ct").integers(-1024, 3000, (4, 5, 6)).astype(np.int16)
    affine = ras_affine((2.0, 2.5, 7.0), (-100.0, -80.0, -200.0))
    write_nifti(tmp_path / "v.nii.gz", voxels, affine)
    image = nib.load(tmp_path / "v.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert (np.asarray(image.dataobj) == voxels.transpose(2, 1, 0)).all()
    assert np.allclose(image.affine, affine)
    assert np.allclose(image.get_qform(), affine)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    # Voxel (1, 2, 3) lies 98 mm to the right, 75 mm in front and 179 mm below: RAS is (98, 75, -179).
    assert (image.affine @ [1, 2, 3, 1])[:3].tolist() == [98.0, 75.0, -179.0]
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_file_is_the_same_bytes_again(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", voxels, np.eye(4))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
