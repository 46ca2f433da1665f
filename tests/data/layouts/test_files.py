"""What layouts of published sets share: listing, JSON, rows without a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import list_files, read_records
from medvlp.data.layouts._published import manifest_of
from medvlp.data.picture_files import files_below
from tests.closed import unlistable


def test_files_are_listed_once_without_what_other_systems_leave(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/.hidden/2.png", "a/._1.png", "a/__MACOSX/1.png", "b/3.PNG", "b/deep/4.txt", "5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path) == ["5.png", "a/1.png", "b/3.PNG", "b/deep/4.txt"]
    assert list_files(tmp_path, ["b", "nowhere", "b"], suffixes=(".png",)) == ["b/3.PNG"]


@pytest.mark.parametrize("listed", [list_files, files_below])
def test_a_folder_that_cannot_be_listed_is_told_and_not_left_out(tmp_path: Path, listed: Callable) -> None:
    with unlistable(tmp_path), pytest.raises(DataError, match=r"The folder .* cannot be read \(File name too long\): "):
        listed(tmp_path)


@pytest.mark.skipif(sys.platform == "darwin", reason="there all names are in UTF-8")
def test_names_that_are_not_in_utf8_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for name in (b"M\xfcller.dcm", "Müller.dcm".encode(), b"plain.dcm"):
        (tmp_path / os.fsdecode(name)).touch()
    sentence = r"Names below .* that are not in UTF-8, as old archives of Windows give them: 1, the first 'M\\udcfc"
    with pytest.raises(DataError, match=sentence):
        list_files(tmp_path)


def test_rows_whose_file_is_not_there_are_listed_and_rows_without_a_path_kept(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "image": "a.png", "text": "x"},
        {"id": "b", "image": "b.png"},
        {"id": "c", "text": "only words"},
    ]
    manifest = manifest_of(rows, root=tmp_path, layout="x", files={"a.png"}, skipped={"other": ["z"]}, meta={"n": 1})
    assert manifest.column("id").tolist() == ["a", "c"]
    assert manifest.meta == {"layout": "x", "n": 1, "skipped": {"other": ["z"], "missing_file": ["b.png"]}}
    assert len(manifest_of(rows, root=tmp_path, layout="x", files=None, skipped={})) == 3


def test_nothing_left_is_one_sentence_that_says_why(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "a", "image": "a.png"}, {"id": "b", "image": "b.png"}]
    with pytest.raises(
        DataError, match=r"None of the 2 files that the x release names exists below .* first is a\.png"
    ):
        manifest_of(rows, root=tmp_path, layout="x", files=set(), skipped={})
    with pytest.raises(DataError, match=r"No record of the x release is left \(1 no_picture\)"):
        manifest_of([], root=tmp_path, layout="x", files=None, skipped={"no_picture": ["a.txt"]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "is no list of objects"),
        ("{}", "is no list of objects"),
        ("[", "is not JSON"),
        ("[" * 99999, "is not JSON"),
        (f"[{'1' * 5000}]", "is not JSON"),
    ],
)
def test_a_json_file_of_another_form_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_records(tmp_path / "a.json")
    with pytest.raises(DataError, match="does not exist: check the root"):
        read_records(tmp_path / "b.json")
