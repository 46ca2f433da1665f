"""SLAKE: two languages, a renamed part, questions whose image is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort


def entry(qid: int, image: int, language: str = "en", **more: object) -> dict[str, object]:
    said = {"question": "Is there an effusion? ", "answer": "No", "answer_type": "CLOSED", "base_type": "vqa"}
    about = {"location": "Lung", "modality": "X-Ray", "content_type": "Abnormality", "triple": ["vhead", "_", "_"]}
    return (
        {"img_id": image, "img_name": f"xmlab{image}/source.jpg", "qid": qid, "q_lang": language} | said | about | more
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    parts = {
        "train.json": [entry(0, 1), entry(1, 1, "zh", question="有积液吗?", answer="没有"), entry(2, 9)],
        "validation.json": [entry(0, 2, answer_type="OPEN", answer="Left Lung, Right")],
        "test.json": [entry(0, 3)],
    }
    for name, entries in parts.items():
        (tmp_path / name).write_text(json.dumps(entries), encoding="utf-8")
    for number in (1, 2, 3):
        (tmp_path / f"imgs/xmlab{number}").mkdir(parents=True)
        (tmp_path / f"imgs/xmlab{number}/source.jpg").touch()
        (tmp_path / f"imgs/xmlab{number}/mask.png").touch()
    return tmp_path


def test_english_questions_of_three_parts_with_images_as_studies(root: Path) -> None:
    manifest = index_cohort("slake", root)
    assert manifest.column("id").tolist() == ["train-0", "validate-0", "test-0"]
    assert manifest.column("split").tolist() == ["train", "validate", "test"]
    assert manifest.column("id.study").tolist() == ["xmlab1", "xmlab2", "xmlab3"]
    assert manifest.record(1)["text"] == "Is there an effusion? Left Lung, Right"
    assert (manifest.record(0)["answer_type"], manifest.record(0)["location"]) == ("CLOSED", "Lung")
    assert manifest.meta["skipped"] == {"other_language": ["train-1"], "missing_file": ["imgs/xmlab9/source.jpg"]}


def test_an_answer_that_is_null_is_missing(root: Path) -> None:
    (root / "test.json").write_text(json.dumps([entry(0, 3, answer=None)]))
    record = index_cohort("slake", root).record(2)
    assert (record.get("text.answer"), record["text"]) == (None, "Is there an effusion?")


def test_both_languages_and_faults(root: Path, tmp_path: Path) -> None:
    assert index_cohort("slake", root, {"language": "both"}).column("q_lang").tolist() == ["en", "zh", "en", "en"]
    (root / "test.json").write_text(json.dumps([{"qid": 1}]))
    with pytest.raises(DataError, match=r"test\.json, entry 0, has no 'img_name': download the file again"):
        index_cohort("slake", root)
    with pytest.raises(DataError, match="holds no question in 'en'"):
        index_cohort("slake", tmp_path / "imgs")
