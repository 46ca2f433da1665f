"""VQA-RAD: mixed answers, stray blanks, the split that shares its images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split

CASE = "https://medpix.nlm.nih.gov/case?id=48e1dd0e-8552-46ad-a354-5eb55be86de6"


def entry(qid: object, **other: object) -> dict[str, Any]:
    return {
        "qid": qid,
        "phrase_type": "freeform",
        "image_name": "synpic1.jpg",
        "image_organ": "CHEST",
        "question": "Is there an effusion? ",
        "question_type": "PRES",
        "answer": "No",
        "answer_type": "CLOSED",
        **other,
    }


@pytest.fixture
def public(tmp_path: Path) -> Path:
    entries = [
        entry("0", image_case_url=CASE, question_frame="Is an effusion seen?"),
        entry("1", image_case_url=CASE, phrase_type="test_para", question_frame="Seen?"),
        entry(
            "2", image_case_url="NULL", answer=12, answer_type="CLOSED ", question_type="ATRIB", question_frame="NULL"
        ),
        entry("3", image_case_url=CASE, question_type="PRSE, POS ", image_name="gone.jpg", question_frame="NULL"),
    ]
    (tmp_path / "VQA_RAD Dataset Public.json").write_text(json.dumps(entries))
    (tmp_path / "VQA_RAD Image Folder").mkdir()
    for name in ("synpic1.jpg", "synpic35356.jpg"):
        (tmp_path / "VQA_RAD Image Folder" / name).write_bytes(b"1" if "1." in name else b"2")
    return tmp_path


def test_rows_are_questions_with_words_for_answers(public: Path) -> None:
    manifest = index_cohort("vqa_rad", public)
    assert manifest.column("text").tolist() == ["Is there an effusion? No"] * 2 + ["Is there an effusion? 12"]
    assert manifest.column("text.answer").tolist() == ["No", "No", "12"]
    assert manifest.column("answer_type").tolist() == ["CLOSED"] * 3
    assert manifest.column("question_type").tolist() == ["PRES", "PRES", "ATTRIB"]
    assert manifest.column("split").tolist() == ["train", "test", "train"]
    assert manifest.column("id.patient").tolist() == [CASE, CASE, None]
    assert manifest.meta["images_without_question"] == ["VQA_RAD Image Folder/synpic35356.jpg"]
    assert manifest.meta["skipped"] == {"missing_file": ["VQA_RAD Image Folder/gone.jpg"]}
    every = index_cohort("vqa_rad", public, {"require_files": False})
    assert every.column("question_type").tolist()[-1] == "PRES, POS"


def test_the_published_split_shares_its_images(public: Path) -> None:
    leaks = check_split(index_cohort("vqa_rad", public))
    assert {leak.kind for leak in leaks} == {"patient", "image"}


def test_frames_are_further_rows_of_training_questions_only(public: Path) -> None:
    manifest = index_cohort("vqa_rad", public, {"frames": True})
    assert manifest.column("id").tolist() == ["0", "0-frame", "1", "2"]
    assert manifest.record(1)["text"] == "Is an effusion seen? No"
    assert manifest.record(1)["phrase_type"] == "frame"


def test_an_answer_that_is_null_is_missing(public: Path) -> None:
    entries = [entry("0", answer=None, question_frame="Seen?"), entry("1")]
    (public / "VQA_RAD Dataset Public.json").write_text(json.dumps(entries))
    manifest = index_cohort("vqa_rad", public, {"frames": True})
    assert manifest.column("text.answer").tolist() == [None, None, "No"]
    assert manifest.column("text").tolist() == ["Is there an effusion?", "Seen?", "Is there an effusion? No"]


def test_the_two_files_that_others_made_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "trainset.json").write_text(json.dumps([entry(1, phrase_type="frame")]))
    (tmp_path / "testset.json").write_text(json.dumps([entry(2)]))
    manifest = index_cohort("vqa_rad", tmp_path, {"images": "images", "require_files": False})
    assert manifest.column("split").tolist() == ["train", "test"]
    assert manifest.column("image").tolist() == ["images/synpic1.jpg"] * 2
    assert "id.patient" not in manifest


def test_a_wrong_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither 'VQA_RAD Dataset Public.json' nor trainset.json"):
        index_cohort("vqa_rad", tmp_path)
    path = tmp_path / "testset.json"
    path.write_text(json.dumps([{"qid": 1}]))
    with pytest.raises(DataError, match=r"testset.json, entry 0, has no 'phrase_type': download the file again"):
        index_cohort("vqa_rad", tmp_path)
    path.write_text("[")
    with pytest.raises(DataError, match=r"testset.json is not JSON"):
        index_cohort("vqa_rad", tmp_path)
