"""``csv`` on tables as hospitals export them: what can be read as it is meant, and what is refused in one sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.text_table import read_table


def test_paths_of_another_system_are_named_as_the_reason(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").touch()
    (tmp_path / "t.csv").write_text("file\nimg\\a.png\n")
    with pytest.raises(
        DataError,
        match=r"check the folder of the files and what the table calls them, and write paths with / instead of \\\.$",
    ):
        index_cohort("csv", tmp_path, {"columns": {"image": "file"}})


def test_the_separator_is_the_headers_whatever_stands_in_reports(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id;report\n7;Heart, lungs, bones: all normal.\n")
    assert read_table(tmp_path / "t.csv").rows == (("7", "Heart, lungs, bones: all normal."),)


def test_a_row_of_several_lines_is_told_by_the_line_in_which_it_begins(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,text\na,"Two\nlines."\n\nb,"Three\nmore\nlines."\nc,One.\n')
    assert read_table(tmp_path / "t.csv").lines == (2, 5, 8)


def test_a_column_whose_name_stands_twice_is_refused_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("note,patient,patient,x,x\nClear.,p1,q1,1,2\n")
    assert len(index_cohort("csv", tmp_path, {"columns": {"text": "note"}})) == 1
    for column in ("patient", "{note}/{patient}"):
        with pytest.raises(DataError, match="names the column 'patient' twice: rename or drop one"):
            index_cohort("csv", tmp_path, {"columns": {"text": "note", "patient_id": column}})


def test_ages_of_dicom_are_years(tmp_path: Path) -> None:
    for ages, wanted in (
        ("045Y 006M 010D", [45, 0, 0]),
        ("61 7 045Y", [61, 7, 45]),
        ("6.5 7", [6.5, 7]),
        ("old 045Y", ["old", "045Y"]),
    ):
        (tmp_path / "t.csv").write_text(
            "note,years\n" + "".join(f"Clear.,{age}\n" for age in ages.split()) + "Clear.,\n"
        )
        manifest = index_cohort("csv", tmp_path, {"columns": {"text": "note", "age": "years"}})
        assert manifest.arrow("age").to_pylist() == [*wanted, None]


def test_a_packed_table_that_swells_without_end_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"note\nClear.\n")
    (tmp_path / "t.csv.gz").write_bytes(packed)
    assert read_table(tmp_path / "t.csv.gz").column("note") == ["Clear."]
    (tmp_path / "t.csv.gz").write_bytes(packed + 257 * gzip.compress(bytes(1 << 20)))  # members follow each other
    with pytest.raises(DataError, match="unpacks to more than 268435456 bytes"):
        read_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("above", ["sep=;\n", "\n\n", "SEP=;\r\n\r\n", ";;\n", "\ufeffsep=;\n"])
def test_what_excel_writes_above_the_header_is_passed_over(tmp_path: Path, above: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"{above}note;a,b,c\n1,2;x\nClear.;y\n", encoding="utf-8", newline="")
    columns = {"text": "note", "kind": "a,b,c"}
    if "sep" in above.lower():  # without that line the comma stands most often in the header
        manifest = index_cohort("csv", tmp_path, {"columns": columns})
        assert manifest.column("text").tolist() == ["1,2", "Clear."]
    table.write_text(f"{above}note;kind\nClear.;x\nClear.;x;y\n", encoding="utf-8", newline="")
    with pytest.raises(DataError, match=f"line {3 + above.count(chr(10))}: 3 values under 2 columns"):
        index_cohort("csv", tmp_path, {"columns": {"text": "note"}})


def test_a_number_that_is_nan_reaches_nothing_and_its_label_is_blank(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("note,grade\na,1\nb,2\nc,nan\nd,NaN\ne,\n")
    columns = {"text": "note", "label.severe": "grade>=2", "label.mild": "grade >= 0"}
    manifest = index_cohort("csv", tmp_path, {"columns": columns})
    assert manifest.arrow("label.severe").to_pylist() == [0, 1, None, None, None]
    assert manifest.arrow("label.mild").to_pylist() == [1, 1, None, None, None]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("a,Left effusion\nseen today.,1,F\n", 3),  # the break stands in the second of four values
        ("a,Left effusion\n\nand edema,\nboth new.,1,F\n", 5),
        ("a,Clear.,1,F\nb,Edema\n12 rows\n", 4),
    ],
)
def test_a_report_torn_by_a_line_break_without_quotes_is_refused(tmp_path: Path, rows: str, line: int) -> None:
    (tmp_path / "t.csv").write_text(f"id,note,label,sex\n{rows}")
    with pytest.raises(DataError, match=f"line {line}: . values under 4 columns: quote values that hold a line break"):
        index_cohort("csv", tmp_path, {"columns": {"id": "id", "text": "note", "label.effusion": "label"}})


def test_a_row_whose_last_blanks_were_left_away_is_no_torn_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,note,label,sex\na,Clear.,1\nb,Edema.,0\nc,Effusion.,1,F\nd,Clear.\n")
    columns = {"id": "id", "text": "note", "label.edema": "label", "sex": "sex"}
    manifest = index_cohort("csv", tmp_path, {"columns": columns})
    assert manifest.arrow("sex").to_pylist() == [None, None, "F", None]
    assert manifest.arrow("label.edema").to_pylist() == [1, 0, 1, None]


def test_a_quote_that_is_never_closed_swallows_no_record(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('note,kind\nClear.,x\n"No effusion.,y\nNodule.,z\n')
    with pytest.raises(DataError, match="line 3: a quote opens and is never closed: close it, or write it twice"):
        index_cohort("csv", tmp_path, {"columns": {"text": "note"}})
    for text, told in (('note,"kind\nClear.,x\n', "line 1: a quote"), ("", "no rows"), ("note,kind\n", "no rows")):
        table.write_text(text)
        with pytest.raises(DataError, match=told):
            index_cohort("csv", tmp_path, {"columns": {"text": "note"}})
    table.write_text('note,kind\n"Clear,\nas before.",x\n"A ""ring"" sign.","z"')
    manifest = index_cohort("csv", tmp_path, {"columns": {"text": "note", "kind": "kind"}})
    assert manifest.column("text").tolist() == ["Clear,\nas before.", 'A "ring" sign.']
    assert manifest.column("kind").tolist() == ["x", "z"]
