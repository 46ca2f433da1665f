"""Leaks of real sets: copies planted among real films are found, films of two patients are not; known leaks counted."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split
from medvlp.data.leakage.check import check_cohorts
from medvlp.data.manifest import Manifest


def copy_of(path: Path, out: Path) -> Path:
    """Write a negative of a film with 5 % cut off two sides, at 0.6 of its size, as JPEG of quality 60."""
    image = Image.open(path).convert("L")
    wide, high = image.size
    image = image.crop((0, round(0.05 * high), round(0.95 * wide), high))
    image = Image.fromarray(255 - np.asarray(image.resize((round(0.6 * image.width), round(0.6 * image.height)))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    out.write_bytes(buffer.getvalue())
    return out


def test_copies_among_films_of_other_patients_are_found_and_nothing_else(
    pack: Callable[[str], Path], tmp_path: Path
) -> None:
    with open(pack("nih-cxr14") / "Data_Entry_2017_v2020.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    first = list({row["Patient ID"]: row["Image Index"] for row in rows}.values())[:60]
    folder = pack("nih-cxr14") / "images_001" / "images"
    copies = [copy_of(folder / name, tmp_path / f"{name}.jpg") for name in first[:8]]
    paths = [*(folder / name for name in first), *copies]
    columns = {
        "id": [path.name for path in paths],
        "image": [str(path.resolve()).lstrip("/") for path in paths],
        "split": ["train"] * 40 + ["test"] * (20 + len(copies)),
    }
    leaks = check_split(Manifest.of(columns, root=Path("/")), near=True)
    assert {(leak.kind, leak.a, leak.b) for leak in leaks} == {
        ("near_image", name, f"{name}.jpg") for name in first[:8]
    }


def test_two_exposures_of_one_child_are_told_from_one_exposure_twice(pack: Callable[[str], Path]) -> None:
    # The first pair is one exposure under two file names, the second two: markers and breathing differ.
    folder = Path("train/PNEUMONIA")
    names = ("person1261_virus_2147", "person1261_virus_2148", "person1476_bacteria_3842", "person1476_bacteria_3843")
    root = pack("pneumonia-kermany") / "chest_xray"
    columns = {
        "id": names,
        "image": [str(folder / f"{name}.jpeg") for name in names],
        "id.patient": ["1261", "1261", "1476", "1476"],
        "split": ["train", "test", "train", "test"],
    }
    found = [leak.a for leak in check_split(Manifest.of(columns, root=root), near=True) if leak.kind == "near_image"]
    assert found == ["person1261_virus_2147"]


def test_every_test_image_of_vqa_rad_is_a_training_image(pack: Callable[[str], Path]) -> None:
    manifest = index_cohort("vqa_rad", pack("vqa-rad"))
    leaks = [leak for leak in check_split(manifest) if leak.kind == "image"]
    test = {
        path for path, side in zip(manifest.column("image"), manifest.column("split"), strict=True) if side == "test"
    }
    assert len(test) == len(leaks) == 203
    assert {frozenset((leak.split_a, leak.split_b)) for leak in leaks} == {frozenset(("train", "test"))}


def test_the_row_split_of_siim_trains_on_a_third_of_its_positive_test_images(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchxrayvision is not installed, which holds train-rle.csv")
    with gzip.open(Path(spec.origin).parent / "data" / "siim-pneumothorax-train-rle.csv.gz", "rt") as table:
        rows = [[value.strip() for value in row] for row in csv.reader(table)][1:]
    shares = []
    for seed in range(3):
        draw = np.random.Generator(np.random.Philox(seed))
        sides = np.array(["train", "validate", "test"])[np.searchsorted([0.7, 0.85], draw.random(len(rows)), "right")]
        columns = {
            "id": [str(number) for number in range(len(rows))],
            "image": [name for name, _ in rows],
            "split": sides.tolist(),
        }
        leaks = check_cohorts([Manifest.of(columns, root=tmp_path)], images=False).leaks
        trained = sum({leak.split_a, leak.split_b} == {"train", "test"} for leak in leaks)
        tested = {name for (name, mask), side in zip(rows, sides, strict=True) if side == "test" and mask != "-1"}
        shares.append(trained / len(tested))
    assert np.mean(shares) == pytest.approx(0.33, abs=0.03)
