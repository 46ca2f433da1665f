"""What layouts of published sets share."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import list_files
from medvlp.data.layouts._published import find_table, label_columns, published_manifest, rows_of
from medvlp.data.text_table import read_table


def test_a_gzipped_table_is_the_same_table_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    text = "study_id,Edema\r\n1,-1.0\r\n2,\r\n"
    (tmp_path / "plain.csv").write_text(text, newline="")
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    plain, packed = read_table(tmp_path / "plain.csv"), read_table(tmp_path / "packed.csv.gz")
    assert (plain.names, plain.rows, plain.lines) == (packed.names, packed.rows, packed.lines)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(DataError, match=r"cut\.csv\.gz is no whole gzip file .*: download it again"):
        read_table(tmp_path / "cut.csv.gz")


def test_a_table_is_found_at_the_root_or_one_folder_below_and_two_are_refused(tmp_path: Path) -> None:
    for place in ("a", "b", "a/deeper"):
        (tmp_path / place).mkdir()
    (tmp_path / "a/deeper/labels.csv").touch()
    with pytest.raises(DataError, match=r"holds no label table \(labels.csv, there or one folder below\)"):
        find_table(tmp_path, ["labels.csv"], what="label table")
    (tmp_path / "a/labels.csv").touch()
    assert find_table(tmp_path, ["labels.csv"], what="label table") == tmp_path / "a/labels.csv"
    (tmp_path / "b/labels.csv.gz").touch()
    with pytest.raises(DataError, match=r"holds two releases \(a/labels.csv and b/labels.csv.gz\)"):
        find_table(tmp_path, ["labels.csv"], what="label table")
    (tmp_path / "labels.csv").touch()  # the root's own comes first
    assert find_table(tmp_path, ["labels.csv"], what="label table") == tmp_path / "labels.csv"
    for name in ("v1.csv", "v1.csv.gz"):  # one table, packed and not
        (tmp_path / name).touch()
        assert find_table(tmp_path, ["v*.csv"], what="label table") == tmp_path / "v1.csv"
    (tmp_path / "v2.csv").touch()
    with pytest.raises(DataError, match=r"holds two releases \(v1.csv.gz and v2.csv\)"):
        find_table(tmp_path, ["v*.csv"], what="label table")


def test_listing_is_the_same_with_workers_and_tells_folders(tmp_path: Path) -> None:
    folders = [f"p{k:03d}" for k in range(300)]
    for folder in folders:
        (tmp_path / folder / "s1").mkdir(parents=True)
        (tmp_path / folder / "s1" / "x.jpg").touch()
    told: list[tuple[int, int]] = []
    one = list_files(tmp_path, folders, suffixes=[".jpg"], progress=lambda done, total: told.append((done, total)))
    assert one == [f"{folder}/s1/x.jpg" for folder in folders]
    assert told == [(256, 300), (300, 300)]
    assert list_files(tmp_path, folders, suffixes=[".jpg"], workers=2) == one
    assert list_files(tmp_path, ["absent"], suffixes=[".jpg"]) == []


def test_labels_keep_their_four_values_and_other_values_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,Edema\na,1.0\nb,0\nc,-1.0\nd, \n")
    words = {"edema": "Edema", "fracture": "Fracture"}  # a column that the table lacks is left out
    assert label_columns(read_table(path), words) == {"label.edema": [1, 0, -1, None]}
    path.write_text("id,Edema\na,1.0\nb,yes\n")
    with pytest.raises(DataError, match=r"labels.csv, line 3: Edema is 'yes', where a label is 1 \(present\)"):
        label_columns(read_table(path), {"edema": "Edema"})
    with pytest.raises(DataError, match=r"has no label column, not even 'Oedema': did you mean 'Edema'"):
        label_columns(read_table(path), {"edema": "Oedema"})


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("57", 57),
        ("058Y", 58),
        ("018M", 1),
        ("003W", 0),
        ("0", 0),
        ("120", 120),
        ("121", None),
        ("414", None),
        ("", None),
    ],
)
def test_ages_are_years(text: str, age: int | None) -> None:
    assert years(text) == age


def test_rows_that_are_left_out_are_listed_by_reason(tmp_path: Path) -> None:
    columns = {"id": ["a", "b", "c"], "image": ["a.png", "b.png", None]}
    reasons = ["", "other_view", "missing_file"]
    manifest = published_manifest(
        columns, root=tmp_path, reasons=reasons, listed=["a", "b", "c"], source="t.csv", meta={}
    )
    assert manifest.column("id").tolist() == ["a"]
    assert manifest.meta["skipped"] == {"other_view": ["b"], "missing_file": ["c"]}
    with pytest.raises(DataError, match=r"No record of t.csv is left \(1 missing_file, 2 other_view\)"):
        published_manifest(
            columns,
            root=tmp_path,
            reasons=["other_view", *reasons[1:]],
            listed=["a", "b", "c"],
            source="t.csv",
            meta={},
        )


def test_rows_of_one_name_are_joined_in_their_order() -> None:
    assert rows_of(["b", "a", "b"]) == {"b": [0, 2], "a": [1]}
