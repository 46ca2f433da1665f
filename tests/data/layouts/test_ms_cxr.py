"""MS-CXR: several boxes a phrase, boxes on smaller copies, patients from the path."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort

HEAD = ["dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height", "split"]
STUDY = "files/p10/p10000032/s50414267"


def write(root: Path, rows: list[list[object]], head: list[str] = HEAD) -> None:
    with open(root / "MS_CXR_Local_Alignment_v1.1.0.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path, size = f"{STUDY}/d1.jpg", [400, 800]
    write(
        tmp_path,
        [
            ["d1", "Pneumonia", "right basilar opacity", path, 40, 80, 20, 40, *size, "train"],
            ["d1", "Pneumonia", "right basilar opacity", path, 100, 0, 100, 80, *size, "train"],
            ["d1", "Pleural Effusion", "small left effusion", path, 0, 0, 400, 800, *size, "train"],
            ["d2", "Edema", "edema", "files/p11/p11000001/s5/d2.dcm", 1, 2, 3, 4, *size, "val"],
        ],
    )
    (tmp_path / STUDY).mkdir(parents=True)
    Image.fromarray(np.zeros((400, 200), np.uint8)).save(tmp_path / path)  # half of what was drawn on
    return tmp_path


def test_boxes_of_a_phrase_are_one_row_in_pixels_of_the_file(root: Path) -> None:
    manifest = index_cohort("ms_cxr", root)
    assert manifest.column("id").tolist() == ["d1-0", "d1-1"]
    first, second = manifest.record(0), manifest.record(1)
    assert first["boxes.pneumonia"] == [[20, 40, 30, 60], [50, 0, 100, 40]]
    assert second["boxes.effusion"] == [[0, 0, 200, 400]]
    assert (first["id.patient"], first["id.study"], first["split"]) == ("10000032", "50414267", "train")
    assert (first["text"], first["sentence.pneumonia"]) == ("right basilar opacity",) * 2
    assert "boxes.effusion" not in first  # nobody was asked about it there
    assert manifest.meta["skipped"] == {"missing_file": ["files/p11/p11000001/s5/d2.dcm"]}
    every = index_cohort("ms_cxr", root, {"require_files": False})
    assert (every.record(2)["boxes.edema"], every.record(2)["split"]) == ([[1, 2, 4, 6]], "validate")


def test_two_phrases_of_one_finding_on_an_image_are_two_rows(root: Path) -> None:
    phrases, path = ("left basilar opacity", "right basilar opacity"), f"{STUDY}/d1.jpg"
    write(root, [["d1", "Pneumonia", words, path, 0, 0, 40, 80, 400, 800, "train"] for words in phrases])
    assert index_cohort("ms_cxr", root).column("text").tolist() == list(phrases)


def test_a_category_or_box_that_is_none_is_refused_with_its_line(root: Path) -> None:
    write(root, [["d1", "Edemma", "x", f"{STUDY}/d1.jpg", 1, 2, 3, 4, 5, 6, "train"]])
    with pytest.raises(DataError, match=r"line 2: 'Edemma' is no category of the set: did you mean 'Edema'"):
        index_cohort("ms_cxr", root)
    write(root, [["d1", "Edema", "x", f"{STUDY}/d1.jpg", 1, 2, "", 4, 5, 6, "train"]])
    with pytest.raises(DataError, match=r"line 2: the box 1, 2, , 4, 5, 6 is no numbers"):
        index_cohort("ms_cxr", root)
