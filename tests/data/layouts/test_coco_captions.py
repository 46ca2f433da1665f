"""Captions in COCO's form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    images = [
        {"id": 7, "file_name": "a.png", "who": "p1"},
        {"id": 8, "file_name": "b.png", "who": "p2"},
        {"id": 9, "file_name": "gone.png", "who": "p2"},
    ]
    words = [
        {"id": 1, "image_id": 7, "caption": "A chest\n radiograph."},
        {"id": 2, "image_id": 7, "caption": "Clear lungs."},
        {"id": 3, "image_id": 9, "caption": "Gone."},
        {"id": 4, "image_id": 99, "caption": "Of nothing."},
        {"id": 5, "image_id": 8, "caption": " "},
    ]
    (tmp_path / "c.json").write_text(json.dumps({"info": {}, "images": images, "annotations": words}))
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pictures" / name).touch()
    return tmp_path


def test_captions_of_one_image_are_rows_of_one_study(captions: Path) -> None:
    manifest = index_cohort(
        "coco_captions", captions, {"annotations": "c.json", "images": "pictures", "patient": "who"}
    )
    assert [manifest.record(i) for i in range(2)] == [
        {"id": "7-1", "id.study": "7", "image": "pictures/a.png", "id.patient": "p1", "text": "A chest radiograph."},
        {"id": "7-2", "id.study": "7", "image": "pictures/a.png", "id.patient": "p1", "text": "Clear lungs."},
    ]
    assert manifest.meta["skipped"] == {
        "no_caption": ["b.png"],
        "caption_without_image": ["99"],
        "missing_file": ["pictures/gone.png"],
    }


def test_a_patient_or_a_caption_that_is_null_is_none(captions: Path) -> None:
    text = (captions / "c.json").read_text().replace('"who": "p1"', '"who": null').replace('"Clear lungs."', "null")
    (captions / "c.json").write_text(text)
    options = {"annotations": "c.json", "images": "pictures", "patient": "who"}
    manifest = index_cohort("coco_captions", captions, options)
    assert manifest.column("id.patient").tolist() == [None]
    assert manifest.column("text").tolist() == ["A chest radiograph."]


def test_one_row_an_image_has_the_first_caption_or_all(captions: Path) -> None:
    options = {"annotations": {"train": "c.json"}, "images": {"train": "pictures"}}
    first = index_cohort("coco_captions", captions, {**options, "captions": "first"})
    joined = index_cohort("coco_captions", captions, {**options, "captions": "joined"})
    assert first.record(0)["text"] == "A chest radiograph."
    assert joined.record(0)["text"] == "A chest radiograph. Clear lungs."
    assert (first.record(0)["id"], first.record(0)["split"]) == ("train/7", "train")


def test_a_file_of_another_form_is_one_sentence(captions: Path) -> None:
    with pytest.raises(DataError, match="names no folder for the split 'train'"):
        index_cohort("coco_captions", captions, {"annotations": {"train": "c.json"}, "images": {"val": "pictures"}})
    with pytest.raises(DataError, match="has an entry without 'mrn'"):
        index_cohort("coco_captions", captions, {"annotations": "c.json", "patient": "mrn"})
    (captions / "bad.json").write_text('{"images": 3}')
    with pytest.raises(DataError, match="does not hold the lists images and annotations"):
        index_cohort("coco_captions", captions, {"annotations": "bad.json"})
    with pytest.raises(DataError, match="None of the 3 files that the coco_captions release names exists"):
        index_cohort("coco_captions", captions, {"annotations": "c.json"})
