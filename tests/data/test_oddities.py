"""What is odd in a cohort is told when it is indexed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest
from medvlp.data.oddities import oddities
from medvlp.data.spellings import notes_of, patient_notes


@pytest.mark.parametrize(("same", "told"), [(46, True), (24, False)])
def test_a_patient_of_more_than_a_quarter_of_the_rows_is_told_and_not_named(same: int, told: bool) -> None:
    """Rows of one address, or of de-identified files that are all called alike, are often several patients."""
    patients = ["ANON"] * same + [str(each) for each in range(96 - same)]
    columns = {"id": [str(each) for each in range(96)], "text": ["Clear."] * 96, "id.patient": patients}
    notes = notes_of(Manifest.of(columns, root=Path()))
    sentence = f"Rows of one patient: {same} of 96, all in one part of a split; if they are several, part them."
    assert notes == ((sentence,) if told else ())


@pytest.mark.parametrize("key", ["notes", "patient_notes"])  # as manifests have it, and as older ones do
def test_what_a_layout_noted_of_patients_is_told_where_their_names_are_hashes(key: str) -> None:
    columns = {"id": ["a"], "text": ["Clear."], "id.patient": ["p-0f3a"]}
    assert notes_of(Manifest.of(columns, root=Path(), meta={key: ["Two names are one."]})) == ("Two names are one.",)


def test_repeated_files_missing_patients_empty_and_foreign_reports_are_counted() -> None:
    columns = {
        "id": list("abcdef"),
        "image": ["1.png", "1.png", "2.png", "3.png", "3.png", None],
        "id.patient": ["p", "", "q", "r", "", "s"],
        "text": ["Clear lungs.", None, "Kein Pleuraerguss.", "No effusion.", "", "Sin derrame pleural."],
    }
    assert oddities(Manifest.of(columns, root=Path())) == (
        "4 rows name an image that another row names too ('1.png' first): each row is a record of its own.",
        "2 of 6 rows have no patient: a split by patient refuses them, fill in or drop them.",
        "2 of 6 rows have no report.",
        "2 of 6 reports are not in English: they are trained on as they are, and labels, triplets and sentence checks "
        "pass them over.",
    )


def test_of_a_cohort_in_order_nothing_is_said() -> None:
    columns = {"id": ["a", "b"], "image": ["1.png", "2.png"], "id.patient": ["p", "p"], "text": ["Clear.", "No mass."]}
    assert oddities(Manifest.of(columns, root=Path())) == ()


def test_patients_written_in_several_ways_are_counted_and_not_named(tmp_path: Path) -> None:
    patients = [
        "007",
        "7",
        "7.0",
        "mrn 81",
        "MRN81",
        "P12",
        "p13",
        "７０",
        "70",
        "Jo\u0308rg",
        "Jörg",
        "N/A",
        "nan",
        "",
    ]
    columns = {"id": [str(row) for row in range(len(patients))], "text": ["Clear."] * len(patients)}
    told = oddities(Manifest.of({**columns, "id.patient": patients}, root=Path()))
    assert told == (
        "1 of 14 rows have no patient: a split by patient refuses them, fill in or drop them.",
        "Patients under several names that differ in blanks, case, Unicode form, leading zeros or a decimal point "
        "alone: 4 (9 names). They count as different patients and a split may part them, so write each in one way.",
        "Rows that name a patient 'N/A', which looks like a blank: 2; equal ones count as one patient, leave it blank.",
    )
    # The same is told where the names became keyed hashes.
    (tmp_path / "t.csv").write_text("who,note\n" + "".join(f"{name},Clear.\n" for name in patients))
    options = {"columns": {"patient_id": "who", "text": "note"}, "pseudonymise": True, "key_file": tmp_path / "key"}
    assert oddities(index_cohort("csv", tmp_path, options)) == told


def test_patients_whose_numbers_a_spreadsheet_rounded_are_told() -> None:
    columns = {"id": list("abcd"), "text": ["Clear."] * 4, "id.patient": ["1.23E+12", "1,23E+12", "1E+12", "P1E12"]}
    assert oddities(Manifest.of(columns, root=Path())) == (
        "Rows that name a patient by a number that a spreadsheet rounded: 3; several may be one.",
    )


def test_words_for_nothing_in_reports_and_among_ages_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("r;age\nClear lungs.;61\nNULL;NULL\n\\N;70\n;71\n")
    made = index_cohort("csv", tmp_path, {"columns": {"text": "r", "age": "age"}})
    assert oddities(made) == (
        "1 of 4 rows have neither a file nor a report: nothing can be learned from them.",
        "Ages are words, each a group of its own: write years as numbers, leave unknown ones blank.",
        "1 of 4 rows have no report.",
        "Reports that are 'NULL' or the like, which is learnt: 2; leave them blank.",
    )
    (tmp_path / "t.csv").write_text("r;age\nClear lungs.;61\nNo effusion.;\n")
    assert oddities(index_cohort("csv", tmp_path, {"columns": {"text": "r", "age": "age"}})) == ()
    blank = Manifest.of({"id": ["a", "b"], "text": ["Clear.", "No effusion."], "age": [None, None]}, root=tmp_path)
    assert oddities(blank) == ()  # ages that nobody gave are no words


def test_one_file_under_several_spellings_of_its_path_and_rows_of_nothing_are_told() -> None:
    columns = {"id": list("abcde"), "image": ["x/1.png", "./x/1.png", "x//1.png", None, None], "text": [*"ABCD", " "]}
    assert oddities(Manifest.of(columns, root=Path()))[:2] == (
        "3 rows name an image that another row names too ('x/1.png' first): each row is a record of its own.",
        "1 of 5 rows have neither a file nor a report: nothing can be learned from them.",
    )


def test_names_of_several_rows_count_in_each_of_them() -> None:
    assert patient_notes(["NA", "1E+12", "NA", "1E+12", "1E+12", "7"]) == (
        "Rows that name a patient by a number that a spreadsheet rounded: 3; several may be one.",
        "Rows that name a patient 'NA', which looks like a blank: 2; equal ones count as one patient, leave it blank.",
    )
