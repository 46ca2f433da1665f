"""ChestX-Det and ChestX-Det10: boxes, polygons as run lengths, which names tell a patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort


def write(path: Path, entries: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def decoded(runs: list[int]) -> np.ndarray:
    height, width, *lengths = runs
    return np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(width, height).T


@pytest.fixture
def thirteen(tmp_path: Path) -> Path:
    square = [[10, 20], [10, 40], [30, 40], [30, 20]]
    corner = [[0, 0], [0, 5], [5, 5], [5, 0]]
    write(
        tmp_path / "ChestX_Det_train.json",
        [
            {
                "file_name": "36204.png",
                "syms": ["Nodule", "Pleural Thickening", "Nodule"],
                "boxes": [[10, 20, 30, 40], [1, 2, 3, 4], [0, 0, 5, 5]],
                "polygons": [square, [[1, 2], [3, 4]], corner],
            },
            {"file_name": "36200.png", "syms": [], "boxes": [], "polygons": []},
        ],
    )
    write(
        tmp_path / "ChestX_Det_test.json",
        [{"file_name": "36199.png", "syms": ["Diffuse Nodule"], "boxes": [[1, 1, 9, 9]], "polygons": [square]}],
    )
    for name in ("train_data/36204.png", "copy/36204.png", "test-data/36199.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_finding_without_a_box_was_looked_for_and_files_that_are_not_there_are_listed(thirteen: Path) -> None:
    manifest = index_cohort("chestx_det", thirteen)
    assert manifest.column("image").tolist() == ["train_data/36204.png", "test-data/36199.png"]
    assert manifest.column("split").tolist() == ["train", "test"]
    assert manifest.meta["skipped"] == {"second_copy": ["copy/36204.png"], "missing_file": ["train_data/36200.png"]}
    first = manifest.record(0)
    assert first["boxes.nodule"] == [[10, 20, 30, 40], [0, 0, 5, 5]]
    assert (first["label.nodule"], first["label.pleural_thickening"], first["label.mass"]) == (1, 1, 0)
    assert first["boxes.mass"] == []
    assert "id.patient" not in manifest  # names are new numbers
    assert "label.no_finding" not in manifest  # none of the 13 is not a normal image
    assert len(index_cohort("chestx_det", thirteen, {"require_files": False})) == 3


def test_boxes_are_in_pixels_of_a_smaller_copy(thirteen: Path) -> None:
    Image.new("L", (256, 512)).save(thirteen / "train_data/36204.png", format="JPEG")  # told by what the file holds
    first = index_cohort("chestx_det", thirteen).record(0)
    assert first["boxes.nodule"] == [[2.5, 10, 7.5, 20], [0, 0, 1.25, 2.5]]


def test_masks_are_the_union_of_polygons_down_the_columns(thirteen: Path) -> None:
    manifest = index_cohort("chestx_det", thirteen, {"masks": True})
    record = manifest.record(0)
    mask = decoded(record["mask.nodule"])  # type: ignore[arg-type]
    assert mask.shape == (1024, 1024)
    assert mask[20:40, 10:30].all()  # as its box, whose right and lower edge lie outside
    assert mask[0:5, 0:5].all()
    assert mask.sum() == 20 * 20 + 5 * 5
    assert record["mask.mass"] == [1024, 1024, 1024 * 1024]
    assert decoded(record["mask.pleural_thickening"]).sum() == 0  # type: ignore[arg-type]  # two points span nothing


def test_chestx_det10_has_ten_findings_and_nihs_patients(tmp_path: Path) -> None:
    entries = [{"file_name": f"00000042_00{k}.png", "syms": ["Mass"], "boxes": [[1, 2, 3, 4]]} for k in (1, 2)]
    write(tmp_path / "train.json", entries[:1])
    write(tmp_path / "test.json", entries[1:])
    manifest = index_cohort("chestx_det", tmp_path, {"require_files": False})
    assert manifest.column("id.patient").tolist() == ["42", "42"]
    assert len(manifest.names_of("label")) == len(manifest.names_of("boxes")) == 10
    assert manifest.meta["release"] == "ChestX-Det10"
    with pytest.raises(DataError, match="ChestX-Det10, which has no polygons: set masks to false"):
        index_cohort("chestx_det", tmp_path, {"masks": True})


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"file_name": "a.png", "syms": ["Mass"], "boxes": [[1, 2, 3, 4]]}, "entry 0, has no 'polygons'"),
        ({"file_name": "a.png", "syms": ["Mass"], "boxes": [], "polygons": []}, "are not equally many"),
        ({"file_name": "a.png", "syms": ["Edema"], "boxes": [[1, 2, 3, 4]], "polygons": [[]]}, "'Edema' is none of"),
        ([1], "is no list of objects"),
    ],
)
def test_a_damaged_list_is_one_sentence(tmp_path: Path, entry: object, sentence: str) -> None:
    write(tmp_path / "ChestX_Det_test.json", [entry])
    with pytest.raises(DataError, match=sentence):
        index_cohort("chestx_det", tmp_path, {"require_files": False})


def test_a_wrong_root_or_two_releases_in_one_folder_are_one_sentence(thirteen: Path) -> None:
    write(thirteen / "train.json", [])
    with pytest.raises(DataError, match="holds the lists of two releases"):
        index_cohort("chestx_det", thirteen)
    with pytest.raises(DataError, match=r"holds none of ChestX_Det_train.json"):
        index_cohort("chestx_det", thirteen / "copy")
    (thirteen / "train.json").unlink()
    for name in ("train_data", "copy", "test-data"):
        for path in (thirteen / name).iterdir():
            path.unlink()
    with pytest.raises(DataError, match=r"None of the 3 files .* set require_files to false"):
        index_cohort("chestx_det", thirteen)
