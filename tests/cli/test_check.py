"""`medvlp data check`: exit codes, the JSON that others read, notes, advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.data.films import cropped, film, inverted, write

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from tests.cli.conftest import Ran

Cli = Callable[..., "Ran"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve films of twelve patients; patient 3 also stands in the test, and so does a crop of film 0."""
    names = [write(tmp_path, f"{number}.png", film(number)) for number in range(12)]
    names.append(write(tmp_path, "copy.png", inverted(cropped(film(0), 0.0, 0.05, 0.04, 0.0))))
    patients = [*(f"p{number}" for number in range(11)), "p3", "new"]
    sides = ["train"] * 10 + ["test"] * 3
    rows = [",".join(row) for row in zip(names, names, patients, sides, strict=True)]
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(["id,image,id.patient,split", *rows]))
    return path


def test_json_lists_leaks_and_nothing_else_and_exits_3(cli: Cli, table: Path, tmp_path: Path) -> None:
    done = cli("data", "check", table, "--json", "--notes", tmp_path / "notes.json")
    assert done.code == 3, done.err
    found = json.loads(done.out)
    assert [(leak["kind"], leak["a"], leak["b"], leak["split_a"], leak["split_b"]) for leak in found] == [
        ("patient", "3.png", "11.png", "train", "test"),
        ("near_image", "0.png", "copy.png", "train", "test"),
    ]
    assert json.loads((tmp_path / "notes.json").read_text()) == {"notes": []}
    assert done.err == ""


def test_a_table_of_a_spreadsheet_on_windows_is_read_in_its_encoding(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_bytes("image;id.patient;split\na.png;Müller;train\nb.png;Müller;test\n".encode("cp1252"))
    assert "is not in the encoding utf-8-sig" in cli("data", "check", path, "--no-images").refused()
    done = cli("data", "check", path, "--no-images", "--encoding", "cp1252", "--json")
    assert (done.code, [leak["kind"] for leak in json.loads(done.out)]) == (3, ["patient"])


def test_each_kind_comes_with_what_to_do(cli: Cli, table: Path) -> None:
    done = cli("data", "check", table)
    lines = done.out.splitlines()
    assert lines[0].startswith("patient: 1 leak. Split by patient (`medvlp data split --rule patient`)")
    assert lines[1] == "  3.png (train) and 11.png (test)"
    assert lines[2].startswith("near_image: 1 leak. Look at the pairs")
    assert lines[3].startswith("  0.png (train) and copy.png (test): registered correlation 0.9")
    assert "one is the negative of the other" in lines[3]
    assert lines[-1] == "2 leaks in 13 records, 13 images."


def test_copies_are_left_alone_when_asked(cli: Cli, table: Path) -> None:
    for option, end in (("--no-near", "13 images, copies not looked for."), ("--no-images", "0 images, copies not")):
        done = cli("data", "check", table, option)
        assert done.code == 3
        assert "near_image" not in done.out
        assert done.out.splitlines()[-1].startswith("1 leak in 13 records, ")
        assert end in done.out.splitlines()[-1]


def test_a_cohort_split_by_patient_is_clean(cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    manifest = tmp_path / "m.parquet"
    assert cli("data", "index", "phantom", tiny_cohort.root, "--out", manifest).code == 0
    done = cli("data", "check", manifest, "--json")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_parts_in_files_of_their_own_and_notes_on_standard_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("name,text\n1,Normal chest.\n2,Clear lungs.\n")
    (tmp_path / "test.csv").write_text("name,text\n2,Normal chest.\n")
    words = ("data", "check", tmp_path / "train.csv", tmp_path / "test.csv", "--column", "id.patient=name", "--json")
    done = cli(*words)
    assert done.code == 3
    leak = {"kind": "patient", "a": "row-000002", "b": "row-000001", "split_a": "train", "split_b": "test"}
    assert json.loads(done.out) == [leak]
    assert done.err.startswith("note: 1 of 2 different texts stand on several sides")
    assert cli(*words, "--separate").code == 0


def test_mistakes_are_one_sentence(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who\n1\n")
    (tmp_path / "b.csv").write_text("id,text\n1,x\n")
    assert "has no column that a check can use" in cli("data", "check", tmp_path / "a.csv").refused()
    assert "has no column 'split'" in cli("data", "check", tmp_path / "b.csv").refused()
    assert "does not exist" in cli("data", "check", tmp_path / "c.parquet").refused()


def test_notes_are_never_written_over_the_cohort_that_is_checked(cli: Cli, table: Path) -> None:
    before = table.read_bytes()
    assert "would be written over" in cli("data", "check", table, "--no-images", "--notes", table).refused()
    assert "is a folder: name a file" in cli("data", "check", table, "--no-images", "--notes", table.parent).refused()
    assert table.read_bytes() == before
