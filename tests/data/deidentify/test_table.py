"""A table's columns by their names: findings stay in its reports, and nobody's name is in a cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from medvlp.data.deidentify.table import deidentify_table, kind_of
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret


def cleaned(folder: Path, *, profile: Profile | None = None, **columns: str) -> dict[str, str]:
    """One row, de-identified."""
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([columns.keys(), columns.values()])
    text, _ = deidentify_table(folder / "table.csv", profile=profile or Profile(), secret=Secret(b"k" * 32))
    (row,) = csv.DictReader(io.StringIO(text))
    return row


def test_findings_stay_in_the_report_and_its_reader_goes(tmp_path: Path) -> None:
    row = cleaned(
        tmp_path, patient_id="x", laterality="left", diagnosis="Pneumothorax", view="Lateral", sex="Female",
        reporting_radiologist="Jane Miller",
        report="Small left pleural effusion. No pneumothorax on the lateral view. Read by Jane Miller; Miller agrees.",
    )  # fmt: skip
    assert list(row) == ["patient_id", "report"]
    assert row["report"].startswith("Small left pleural effusion. No pneumothorax on the lateral view.")
    assert not [cell for cell in row.values() if "Miller" in cell or "Jane" in cell]


@pytest.mark.parametrize(
    ("column", "value"),
    [("reader", "Not available"), ("label_name", "Effusion"), ("grade", "Small"), ("study", "CHEST"), ("sign", "LLL")],
)
def test_a_word_of_findings_is_not_cut_out(tmp_path: Path, column: str, value: str) -> None:
    report = "CHEST: Small effusion, not in the LLL."
    assert cleaned(tmp_path, patient_id="x", **{column: value}, report=report)["report"] == report


@pytest.mark.parametrize(
    ("column", "value", "report"),
    [
        ("ward", "Ward 7 left", "From Ward 7 left."),
        ("bed", "AB-12", "Bed AB-12."),
        ("last_name", "Small", "Seen with Small."),
        ("ReportedBy", "Miller/Poe (Jane)", "Agreed by Poe, Miller and Jane."),
        ("report_author", "Left, An Jane", "Jane says so."),
    ],
)
def test_an_identifier_is_cut_out(tmp_path: Path, column: str, value: str, report: str) -> None:
    row = cleaned(tmp_path, patient_id="x", **{column: value}, report=report)
    assert list(row) == ["patient_id", "report"]
    assert not [part for part in ("Ward 7", "AB-12", "Small", "Miller", "Poe", "Jane") if part in row["report"]]


@pytest.mark.parametrize("column", ["accession_number", "patient_id", "study_uid"])
def test_a_number_of_the_row_is_cut_out_of_its_prose(tmp_path: Path, column: str) -> None:
    assert "Qx77b" not in cleaned(tmp_path, **{column: "Qx77b"}, report="As in Qx77b, no effusion.")["report"]


def test_a_date_of_birth_goes_and_so_does_a_date_that_is_nobodys(tmp_path: Path) -> None:
    row = cleaned(tmp_path, patient_id="x", BirthDate="1950-02-03", StudyDate="2020-01-31")
    assert list(row) == ["patient_id", "StudyDate"]
    assert row["StudyDate"] not in ("", "2020-01-31")
    assert cleaned(tmp_path, study_id="7", StudyDate="2020-01-31")["StudyDate"] == ""


def test_of_uids_that_are_retained_only_those_that_are_some_stay(tmp_path: Path) -> None:
    row = cleaned(tmp_path, profile=Profile(uids=True), study_uid="1.2.840.1", series_uid="Jane Miller")
    assert row["study_uid"] == "1.2.840.1"
    assert "Miller" not in row["series_uid"]


def test_staff_is_left_out_and_what_staff_wrote_is_prose() -> None:
    staff = ("reporting_radiologist", "ReportedBy", "report_author", "Reading Physician", "note_signed_by_id",
             "exam_nurse", "Author of report", "report_dr", "ReferringPhysicianID")  # fmt: skip
    assert {kind_of(name, []) for name in staff} == {"drop"}
    prose = ("report_text", "radiologist_report", "Nurse Notes", "attending_radiologist_impression", "personal_history")
    assert {kind_of(name, []) for name in prose} == {"text"}
    assert kind_of("ReportedBy", ["ReportedBy"]) == "keep"
