"""COVIDx: lists without a header, patients by source, what a class says and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split


def lists(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        (root / f"{name}.txt").write_text(text)


@pytest.fixture
def cxr4(tmp_path: Path) -> Path:
    lists(
        tmp_path,
        train="3 a.png positive cohen\n3 b.png negative rsna\n\n3 a.png positive cohen\n",
        val="5 c.png positive bimcv\n",
        test="3 d.png positive cohen\n9 gone.png negative rsna\n",
    )
    for name in ("train/a.png", "train/b.png", "val/c.png", "test/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_first_line_is_a_record_and_a_patient_is_source_and_number(cxr4: Path) -> None:
    manifest = index_cohort("covidx", cxr4)
    assert manifest.column("image").tolist() == ["train/a.png", "train/b.png", "val/c.png", "test/d.png"]
    assert manifest.column("split").tolist() == ["train", "train", "validate", "test"]
    assert manifest.column("id.patient").tolist() == ["cohen:3", "rsna:3", "bimcv:5", "cohen:3"]
    assert manifest.meta["skipped"] == {"repeated_line": ["train/a.png"], "missing_file": ["test/gone.png"]}
    leaks = check_split(manifest, images=False)
    assert [(leak.kind, leak.a, leak.b) for leak in leaks] == [("patient", "train/a.png", "test/d.png")]


def test_a_test_result_says_nothing_of_the_film_and_three_classes_say_more(cxr4: Path) -> None:
    two = index_cohort("covidx", cxr4)
    assert two.column("label.covid19").tolist() == [1, 0, 1, 1]
    for other in ("pneumonia", "no_finding"):
        assert not two.arrow(f"label.{other}").is_valid().to_pylist().count(True)
    lists(cxr4, train_COVIDx9A="1 a.png normal rsna\n2 b.png pneumonia rsna\n4 e.png COVID-19 ricord\n")
    three = index_cohort("covidx", cxr4, {"version": "9A", "require_files": False})
    told = [[three.record(i).get(f"label.{n}") for n in ("covid19", "pneumonia", "no_finding")] for i in range(3)]
    assert told == [[0, 0, 1], [0, 1, 0], [1, None, None]]


def test_of_several_versions_one_must_be_named(cxr4: Path) -> None:
    lists(cxr4, **{"train_COVIDx_CXR-3A": "1 a.png normal rsna\n", "train_COVIDx2": "1 a.png normal\n"})
    with pytest.raises(DataError, match=r"several versions \('', '2', 'CXR-3A'\): choose one with `version`"):
        index_cohort("covidx", cxr4)
    assert len(index_cohort("covidx", cxr4, {"version": ""})) == 4
    assert index_cohort("covidx", cxr4, {"version": "CXR-3A"}).meta["lists"] == ["train_COVIDx_CXR-3A.txt"]
    old = index_cohort("covidx", cxr4, {"version": "2"})  # no source yet
    assert (old.record(0)["id.patient"], "source" in old.record(0)) == ("1", False)
    with pytest.raises(DataError, match="no lists of the version 'CXR-3B': did you mean 'CXR-3A'"):
        index_cohort("covidx", cxr4, {"version": "CXR-3B"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3 a.png positive cohen\n3 b.png perhaps rsna\n", "line 2: it is not 'patient file class"),
        ("3 a b.png positive cohen\n", "line 1: it is not 'patient file class"),
        ("3 a.png positive cohen\n3 a.png negative cohen\n", "names train/a.png twice, with different values"),
    ],
)
def test_a_line_that_is_none_is_one_sentence(cxr4: Path, text: str, sentence: str) -> None:
    lists(cxr4, train=text)
    with pytest.raises(DataError, match=sentence):
        index_cohort("covidx", cxr4)


def test_a_folder_without_lists_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no list train.txt or train_COVIDx"):
        index_cohort("covidx", tmp_path)
