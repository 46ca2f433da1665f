from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medvlp.io.read import holds


def tiff(path: Path, pages: int) -> Path:
    page = Pillow.new("L", (8, 8))
    page.save(path, save_all=True, append_images=[page] * (pages - 1))
    return path


def test_one_picture_is_an_image_and_several_are_a_volume(tmp_path: Path) -> None:
    assert holds(tiff(tmp_path / "one.tif", 1)) == "image"
    assert holds(tiff(tmp_path / "three.tif", 3)) == "volume"
    assert holds(tmp_path) == "volume"


@pytest.mark.parametrize("name", ["chest.nii", "chest.nii.gz", "named.png"])
def test_a_nifti_file_is_a_volume_whatever_its_name(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), plain)
    if name.endswith(".gz"):
        nibabel.save(nibabel.load(plain), tmp_path / name)
    else:
        plain.rename(tmp_path / name)
    assert holds(tmp_path / name) == "volume"


def test_what_cannot_be_read_is_left_to_the_reader_of_images(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert holds(tmp_path / "empty") == holds(tmp_path / "absent") == "image"
