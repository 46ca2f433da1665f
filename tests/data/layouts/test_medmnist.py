"""MedMNIST: flags and class numbers, colour and volumes, pictures unpacked once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.io import read_image, read_volume

COUNTS = {"train": 4, "val": 2, "test": 2}


def write(path: Path, shape: tuple[int, ...], *, flags: int = 0, classes: int = 2) -> dict[str, np.ndarray]:
    draw, arrays = np.random.default_rng(0), {}
    for part, count in COUNTS.items():
        arrays[f"{part}_images"] = draw.integers(0, 256, (count, *shape)).astype(np.uint8)
        labels = np.arange(count)[:, None] % classes
        arrays[f"{part}_labels"] = draw.integers(0, 2, (count, flags)) if flags else labels
    np.savez(path, **arrays)
    return arrays


def test_flags_are_labels_by_the_cards_names_and_pixels_are_the_files(tmp_path: Path) -> None:
    arrays = write(tmp_path / "chestmnist_64.npz", (64, 64), flags=14)
    manifest = index_cohort("medmnist", tmp_path)
    assert manifest.column("split").tolist() == ["train"] * 4 + ["validate"] * 2 + ["test"] * 2
    names = [name.removeprefix("label.") for name in manifest.names_of("label")]
    assert (names[0], names[12], len(names)) == ("atelectasis", "pleural_thickening", 14)
    found = np.stack([manifest.column(f"label.{name}") for name in names], axis=1)
    assert np.array_equal(found[:4], arrays["train_labels"])
    pixels = read_image(manifest.path(5, "image")).pixels
    assert np.array_equal(np.rint(255 * pixels).astype(np.uint8), arrays["val_images"][1])
    (tmp_path / "chestmnist_64" / "train" / "000000.png").write_bytes(b"kept")
    assert len(index_cohort("medmnist", tmp_path)) == 8
    assert (tmp_path / "chestmnist_64" / "train" / "000000.png").read_bytes() == b"kept"


def test_classes_are_exclusive_and_colour_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "pneumoniamnist.npz", (28, 28))
    arrays = write(tmp_path / "dermamnist.npz", (28, 28, 3))
    one = index_cohort("medmnist", tmp_path, {"file": "pneumoniamnist"})
    assert one.column("label.pneumonia").tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert one.column("label.no_finding").tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    skin = index_cohort("medmnist", tmp_path, {"file": "dermamnist", "unpack": str(tmp_path / "away")})
    assert skin.names_of("label") == ("label.class_0", "label.class_1")
    pixels = read_image(skin.path(0, "image"), color="rgb").pixels
    assert np.array_equal(np.rint(255 * pixels).astype(np.uint8), arrays["train_images"][0])
    assert not (tmp_path / "dermamnist").exists()


def test_volumes_are_nifti_with_the_values_in_their_order(tmp_path: Path) -> None:
    arrays = write(tmp_path / "nodulemnist3d.npz", (28, 28, 28))
    manifest = index_cohort("medmnist", tmp_path, {"labels": ["benign", "malignant"]})
    assert manifest.record(1)["label.malignant"] == 1
    volume = read_volume(manifest.path(0, "volume"))
    assert np.array_equal(volume.voxels, arrays["train_images"][0])


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 sets of MedMNIST, and file is None: download one"):
        index_cohort("medmnist", tmp_path)
    write(tmp_path / "breastmnist.npz", (28, 28))
    with pytest.raises(DataError, match="has 2 classes and 3 names of them: give labels, one a class"):
        index_cohort("medmnist", tmp_path, {"labels": ["a", "b", "c"]})
    np.savez(tmp_path / "breastmnist.npz", images=np.zeros(3))
    with pytest.raises(DataError, match="is no set of MedMNIST"):
        index_cohort("medmnist", tmp_path)
    write(tmp_path / "breastmnist.npz", (28, 28))
    whole = (tmp_path / "breastmnist.npz").read_bytes()
    (tmp_path / "breastmnist.npz").write_bytes(whole[:-100])
    with pytest.raises(DataError, match="is no set of MedMNIST"):
        index_cohort("medmnist", tmp_path)
    at = whole.index(b"PK\x01\x02") + 24  # APPNOTE 4.3.12: uncompressed size in the central directory
    (tmp_path / "breastmnist.npz").write_bytes(whole[:at] + b"\xf0\xff\xff\xff" + whole[at + 4 :])
    with pytest.raises(DataError, match="it says that it unpacks to 42949"):
        index_cohort("medmnist", tmp_path)


def test_a_picture_is_whole_or_absent_and_of_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pneumoniamnist.npz", (28, 28))
    written = Image.Image.save

    def half(image: Image.Image, path: Path, **options: str) -> None:
        written(image, path, **options)
        Path(path).write_bytes(Path(path).read_bytes()[:40])
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        index_cohort("medmnist", tmp_path)
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".part")]
    manifest = index_cohort("medmnist", tmp_path)
    first = manifest.path(0)
    assert first is not None
    before = first.stat().st_mtime_ns
    index_cohort("medmnist", tmp_path)
    assert first.stat().st_mtime_ns == before
    arrays = dict(np.load(tmp_path / "pneumoniamnist.npz"))
    np.savez(tmp_path / "pneumoniamnist.npz", **{**arrays, "train_images": 255 - arrays["train_images"]})
    index_cohort("medmnist", tmp_path)
    assert np.allclose(read_image(first).pixels, 1 - arrays["train_images"][0] / 255)
