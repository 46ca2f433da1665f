from __future__ import annotations

import csv
import errno
import hmac
import math
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medvlp.config.tree import DataConfig
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.pseudonym import pseudonym, secret_key
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage.check import check_split
from medvlp.data.oddities import oddities
from medvlp.data.readable import left_out
from medvlp.data.splits.patient import by_patient
from medvlp.io import read_image
from medvlp.phantom.cohort import CohortSummary
from medvlp.runs.data import open_manifest
from tests.phantom.planted import read_planted

COVID = Path(__file__).resolve().parents[3] / "shared" / "data" / "covid-cxr"


def write_dicom(path: Path, *, patient: str, accession: str, study: str, modality: str = "DX", **tags: str) -> str:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    uid = str(tags.pop("SOPInstanceUID", "") or generate_uid(entropy_srcs=[str(path)]))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.PatientID, data.AccessionNumber, data.StudyInstanceUID, data.Modality = patient, accession, study, modality
    data.PatientName = f"NAME^{patient}"
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.Rows = data.Columns = 2
    data.BitsAllocated = data.BitsStored = 8
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation, data.HighBit = (
        1,
        "MONOCHROME2",
        0,
        7,
    )
    data.PixelData = bytes(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return uid


def write_table(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Four patients' files and a report table with the usual flaws."""
    root = tmp_path / "pacs"
    write_dicom(
        root / "d/1/PA.dcm", patient="MRN1", accession="A1", study="1.2.1", ViewPosition="PA", PatientAge="094Y"
    )
    write_dicom(root / "d/1/LAT.dcm", patient="MRN1", accession="A1", study="1.2.1", PatientIdentityRemoved="YES")
    write_dicom(root / "d/2/PA", patient="MRN2", accession="", study="1.2.2", PatientAge="018M", InstitutionName="West")
    write_dicom(root / "d/3/PA.dcm", patient="MRN3", accession="A3", study="1.2.3", PatientSex="F")
    write_dicom(root / "d/4/PA.dcm", patient="MRN4", accession="A4", study="1.2.4")
    write_dicom(root / "d/4/CT.dcm", patient="MRN4", accession="A4", study="1.2.4", modality="CT")
    (root / "d/4/notes.txt").write_text("x")
    rows = [
        ("A1", "1.2.1", "MRN1", "First,\nwith a line break."),
        ("A1", "1.2.1", "MRN1", "Addendum."),
        ("", "1.2.2", "MRN2", "Second."),
        ("A3", "", "MRN9", "Of another patient: the number was given twice."),
        ("A8", "1.2.8", "MRN8", "No image."),
    ]
    write_table(
        root / "reports.csv",
        [dict(zip(("AccessionNumber", "StudyInstanceUID", "PatientID", "Report"), row, strict=True)) for row in rows],
    )
    return root


# hospital -----------------------------------------------------------------------------------------------------------


def test_images_join_their_reports_and_what_does_not_join_is_listed(hospital: Path, tmp_path: Path) -> None:
    manifest = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key")})
    by_path = {str(record["image"]): record for record in map(manifest.record, range(len(manifest)))}
    assert {path: record["text"] for path, record in by_path.items()} == {
        "d/1/LAT.dcm": "First,\nwith a line break.\nAddendum.",
        "d/1/PA.dcm": "First,\nwith a line break.\nAddendum.",
        "d/2/PA": "Second.",  # no accession number: the study UID joins
    }
    assert by_path["d/1/PA.dcm"]["view_position"] == "PA"
    assert [by_path[path]["deidentified"] for path in ("d/1/LAT.dcm", "d/1/PA.dcm")] == ["yes", "unknown"]
    assert (by_path["d/1/PA.dcm"]["age"], by_path["d/2/PA"]["age"]) == (90, 1)
    assert by_path["d/2/PA"]["site"] == "West"
    assert manifest.meta["images_without_report"] == ["d/3/PA.dcm", "d/4/PA.dcm"]
    assert manifest.meta["images_of_another_patient_than_the_report"] == ["d/3/PA.dcm"]
    assert manifest.meta["reports_without_image"] == [6, 7]  # lines of the table; the first report has two
    assert manifest.meta["reports_of_several_rows"] == 1
    several = "Reports joined of several rows of the table: 1; drop preliminary ones first."
    assert several in oddities(manifest)
    assert manifest.meta["skipped"] == {"not_dicom": ["d/4/notes.txt", "reports.csv"], "other_modality": ["d/4/CT.dcm"]}


def test_labels_of_the_report_table_stand_at_the_images_of_their_study(hospital: Path, tmp_path: Path) -> None:
    lines = (hospital / "reports.csv").read_text().splitlines()
    text = "\n".join(lines).replace("Report", "Report,Erguss", 1)
    marks = {'break."': "1", "Addendum.": "", "Second.": "-1", "No image.": "0", "twice.": "0"}
    for end, mark in marks.items():
        text = text.replace(end, f"{end},{mark}")
    (hospital / "reports.csv").write_text(text)
    options = {"columns": {"label.effusion": "Erguss"}, "key_file": tmp_path / "key"}
    manifest = index_cohort("hospital", hospital, options)
    told = dict(zip(manifest.column("image"), manifest.column("label.effusion"), strict=True))
    assert told == {"d/1/LAT.dcm": 1, "d/1/PA.dcm": 1, "d/2/PA": -1}  # the addendum says nothing of it
    (hospital / "reports.csv").write_text(text.replace("Addendum.,", "Addendum.,0"))
    with pytest.raises(DataError, match=r"line 4: label\.effusion is another in a row of the same study: keep one"):
        index_cohort("hospital", hospital, options)
    (hospital / "reports.csv").write_text(text.replace("Addendum.,", "Addendum.,nein"))
    with pytest.raises(DataError, match=r"line 4: label\.effusion must be a number \(Erguss is 'nein'\)"):
        index_cohort("hospital", hospital, options)


def test_whoever_opens_a_folder_unindexed_is_told_what_joined_nothing(
    hospital: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = {"name": "hospital", "images": "d", "key_file": str(tmp_path / "key")}
    with caplog.at_level("INFO", logger="medvlp"):
        open_manifest(DataConfig.model_validate({"root": str(hospital), "layout": layout, "part": "test"}))
    assert caplog.messages[0] == (
        "7 files or rows listed apart (1 other modality, 1 not dicom, 2 images without report, 2 reports without "
        "image, 1 images of another patient than the report); `medvlp data index` names each."
    )


def test_reports_whose_number_a_spreadsheet_changed_are_counted_and_its_formula_is_read(tmp_path: Path) -> None:
    for number in ("0012", "0013", "0014", "12300000000"):
        write_dicom(tmp_path / f"{number}.dcm", patient=f"0{number}", accession=number, study=f"1.2.{int(number)}")
    head = "AccessionNumber;PatientID;Report\n"
    rows = ("12;12;First.", "13.0;13;Second.", '="0014";="14";Third.', "1,23E+10;12300000000;Fourth.")
    (tmp_path / "reports.csv").write_text(head + "\n".join(rows))
    manifest = index_cohort("hospital", tmp_path, {"key_file": tmp_path / "key"})
    assert manifest.column("text").tolist() == ["Third."]
    told = (
        "Reports whose number is an image's but for blanks, case, Unicode form, leading zeros or a decimal point: 2; "
        "write it as the image has it (export that column as text).",
        "Reports whose number a spreadsheet rounded: 1; export that column as text.",
    )
    assert oddities(manifest) == told
    (tmp_path / "reports.csv").write_text(head + "\n".join([*rows[:2], *rows[3:]]))
    with pytest.raises(DataError, match=r"^None of the 4 images .* same system\. Reports whose number") as refused:
        index_cohort("hospital", tmp_path, {"key_file": tmp_path / "key"})
    assert str(refused.value).endswith(" ".join(told))


def test_no_raw_identifier_enters_the_manifest_and_equal_patients_stay_equal(hospital: Path, tmp_path: Path) -> None:
    manifest = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key"), "keep_unjoined": True})
    manifest.save(tmp_path / "m.parquet")
    told = str([manifest.record(i) for i in range(len(manifest))]) + str(manifest.meta)
    assert not any(raw in told for raw in ("MRN", "NAME^", "1.2.1", "A1"))
    assert b"MRN" not in (tmp_path / "m.parquet").read_bytes()
    patients = dict(zip(manifest.column("image"), manifest.column("id.patient"), strict=True))
    assert patients["d/1/PA.dcm"] == patients["d/1/LAT.dcm"] != patients["d/2/PA"]
    assert len(manifest) == 5 + 2  # every image and every report without one
    again = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key"), "keep_unjoined": True})
    assert again.hash == manifest.hash
    other = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "other"), "keep_unjoined": True})
    assert other.hash != manifest.hash


@pytest.mark.parametrize("layout", ["hospital", "image_folder"])
def test_a_patient_id_is_one_patient_within_its_issuer(layout: str, tmp_path: Path) -> None:
    """DICOM PS3.3 C.7.1.1; what only one issuer or none gives stays the pseudonym of the Patient ID."""
    root, options = tmp_path / "pacs", {"key_file": str(tmp_path / "key")}
    files = [
        ("7", "West"),
        ("7", "west "),
        ("7", "East"),
        ("7", ""),
        ("8", "East"),
        ("8", ""),
        ("", "West"),
        ("", "East"),
    ]
    for number, (patient, issuer) in enumerate(files):
        tags = {"IssuerOfPatientID": issuer} if issuer else {}
        path = root / "class" / f"{number}.dcm"
        write_dicom(path, patient=patient, accession=f"A{number}", study=f"1.2.{number}", **tags)
    write_table(root / "reports.csv", [{"AccessionNumber": f"A{n}", "Report": "Clear."} for n in range(len(files))])
    manifest = index_cohort(layout, root, options)
    west, same, east, unsaid, *eight, nobody, none = manifest.column("id.patient").tolist()
    assert west == same
    assert len({west, east, unsaid}) == 3
    key = secret_key(tmp_path / "key")
    assert [unsaid, *eight] == [pseudonym(each, key, prefix="p") for each in ("7", "8", "8")]
    assert not nobody
    assert not none


@pytest.mark.parametrize("written", [None, b"[1]", b"\xff", b'{"synthetic": false}'])
def test_a_synthetic_hospital_is_called_so_by_whatever_layout_reads_it(
    tiny_cohort: CohortSummary, hospital: Path, tmp_path: Path, written: bytes | None
) -> None:
    joined = {"images": "dicom", "key_file": str(tmp_path / "key")}
    listed = {"table": "reports.csv", "columns": {"text": "Report", "patient_id": "PatientID"}}
    for layout, options in (("hospital", joined), ("csv", listed), ("image_folder", {}), ("phantom", {})):
        assert index_cohort(layout, tiny_cohort.root, options).meta["synthetic"] is True, layout
    assert index_cohort("image_folder", tiny_cohort.root / "dicom").meta["synthetic"] is True  # a part of it alone
    if written is not None:
        (hospital / "cohort.json").write_bytes(written)
    assert "synthetic" not in index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key")}).meta


def test_workers_and_progress_do_not_change_the_index(hospital: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    options = {"key_file": str(tmp_path / "key")}
    one = index_cohort("hospital", hospital, options, progress=lambda done, total: told.append((done, total)))
    for k in range(70):
        write_dicom(hospital / f"e/{k}.dcm", patient="MRN1", accession="A1", study="1.2.1")
    several = index_cohort("hospital", hospital, {**options, "workers": 2})
    assert told[-1] == (8, 8)
    assert len(several) == len(one) + 70
    assert several.column("image").tolist() == sorted(several.column("image").tolist())


def test_studies_of_patients_that_nobody_names_have_no_order(hospital: Path, tmp_path: Path) -> None:
    for number, year in (("5", "2020"), ("6", "2021")):
        path = hospital / "d" / number / "PA.dcm"
        write_dicom(path, patient="", accession="", study=f"1.2.{number}", StudyDate=f"{year}0101")
    with open(hospital / "reports.csv", "a", encoding="utf-8") as handle:
        handle.write(",1.2.5,,Fifth.\n,1.2.6,,Sixth.\n")
    manifest = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key")})
    unknown = [record for record in map(manifest.record, range(len(manifest))) if "id.patient" not in record]
    assert [record["text"] for record in unknown] == ["Fifth.", "Sixth."]
    assert not any("study_number" in record for record in unknown)


def test_the_same_instance_twice_is_one_record_and_listed(hospital: Path, tmp_path: Path) -> None:
    uid = write_dicom(hospital / "d/1/a.dcm", patient="MRN1", accession="A1", study="1.2.1")
    write_dicom(hospital / "d/1/b.dcm", patient="MRN1", accession="A1", study="1.2.1", SOPInstanceUID=uid)
    manifest = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key")})
    assert manifest.meta["skipped"]["repeated"] == ["d/1/b.dcm"]  # type: ignore[index]


def test_an_image_of_another_patient_is_listed_once_though_both_numbers_say_so(hospital: Path, tmp_path: Path) -> None:
    numbers = {"AccessionNumber": "A9", "StudyInstanceUID": "1.2.9"}
    rows = [{**numbers, "PatientID": "MRN1", "Report": "Clear."}]
    write_table(hospital / "both.csv", rows)
    write_dicom(hospital / "b/own.dcm", patient="MRN1", accession="A9", study="1.2.9")
    write_dicom(hospital / "b/other.dcm", patient="MRN2", accession="A9", study="1.2.9")
    options = {"key_file": str(tmp_path / "key"), "reports": "both.csv", "images": "b"}
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.column("image").tolist() == ["b/own.dcm"]
    assert manifest.meta["images_of_another_patient_than_the_report"] == ["b/other.dcm"]


def test_a_number_joins_patients_whose_zeros_a_spreadsheet_dropped(hospital: Path, tmp_path: Path) -> None:
    rows = [("A1", "7", "Own."), ("A2", "8", "Of another."), ("A3", "7", "Of one."), ("A3", "9", "Of the other.")]
    write_table(
        hospital / "sheet.csv",
        [dict(zip(("AccessionNumber", "PatientID", "Report"), row, strict=True)) for row in rows],
    )
    for number, patient in (("1", "007"), ("2", "007"), ("3", "")):
        write_dicom(hospital / f"b/{number}.dcm", patient=patient, accession=f"A{number}", study=f"1.2.{number}")
    options = {"key_file": str(tmp_path / "key"), "reports": "sheet.csv", "images": "b"}
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.column("text").tolist() == ["Own."]
    assert manifest.meta["images_of_another_patient_than_the_report"] == ["b/2.dcm", "b/3.dcm"]
    (hospital / "b/1.dcm").unlink()
    with pytest.raises(DataError, match=r"by AccessionNumber \(2 of another PatientID than the report's\): check"):
        index_cohort("hospital", hospital, options)


def test_a_report_at_images_of_two_patients_is_listed_where_the_table_names_none(
    hospital: Path, tmp_path: Path
) -> None:
    numbers = ({"AccessionNumber": "A8", "Report": "Clear."}, {"AccessionNumber": "A9", "Report": "Edema."})
    write_table(hospital / "bare.csv", list(numbers))
    for name, patient, accession in (("a", "MRN1", "A8"), ("b", "MRN1", "A9"), ("c", "MRN2", "A9"), ("d", "", "A8")):
        write_dicom(hospital / f"b/{name}.dcm", patient=patient, accession=accession, study=f"1.2.{accession[1]}")
    options = {"key_file": str(tmp_path / "key"), "reports": "bare.csv", "images": "b"}
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.meta["reports_at_several_patients"] == [3]
    assert left_out(manifest) == {"reports_at_several_patients": [3]}


def test_an_image_without_a_number_gets_no_report_without_one(hospital: Path, tmp_path: Path) -> None:
    rows = [{"AccessionNumber": "", "Report": "Edema."}, {"AccessionNumber": "A1", "Report": "Clear."}]
    write_table(hospital / "blank.csv", rows)
    write_dicom(hospital / "b/a.dcm", patient="MRN1", accession="A1", study="1.2.1", ImageLaterality="L")
    write_dicom(hospital / "b/b.dcm", patient="MRN2", accession="", study="1.2.2")
    options = {"key_file": str(tmp_path / "key"), "reports": "blank.csv", "images": "b"}
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.column("text").tolist() == ["Clear."]
    assert manifest.column("laterality").tolist() == ["L"]
    assert manifest.meta["images_without_report"] == ["b/b.dcm"]


def test_studies_under_one_placeholder_for_a_number_get_their_own_reports(hospital: Path, tmp_path: Path) -> None:
    rows = [("0", "1.2.1", "First."), ("0", "1.2.2", "Second."), ("0", "", "Addendum."), ("0", "1.2.9", "No image.")]
    names = ("AccessionNumber", "StudyInstanceUID", "Report")
    write_table(hospital / "zero.csv", [{**dict(zip(names, row, strict=True)), "PatientID": "MRN1"} for row in rows])
    for number in "12":
        write_dicom(hospital / f"b/{number}.dcm", patient="MRN1", accession="0", study=f"1.2.{number}")
    options = {"key_file": str(tmp_path / "key"), "reports": "zero.csv", "images": "b"}
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.column("text").tolist() == ["First.\nAddendum.", "Second.\nAddendum."]
    assert left_out(manifest) == {"reports_without_image": [5]}
    # A study that no row names has no report of its own, and none of another study.
    write_dicom(hospital / "b/3.dcm", patient="MRN1", accession="0", study="1.2.3")
    write_table(hospital / "zero.csv", [dict(zip(names, row, strict=True)) for row in rows if row[2] != "Addendum."])
    manifest = index_cohort("hospital", hospital, options)
    assert manifest.column("text").tolist() == ["First.", "Second."]
    assert left_out(manifest) == {"images_without_report": ["b/3.dcm"], "reports_without_image": [4]}
    (hospital / "b/3.dcm").unlink()
    # Where the number alone joins, all reports stand at both studies, and that is listed.
    alone = index_cohort("hospital", hospital, {**options, "join": "AccessionNumber"})
    assert left_out(alone) == {"reports_at_several_studies": [2]}
    # So they do where the table's UIDs are of another system than those of the images.
    write_table(hospital / "zero.csv", [{"AccessionNumber": "0", "StudyInstanceUID": "9.9", "Report": "Clear."}])
    assert index_cohort("hospital", hospital, options).column("text").tolist() == ["Clear.", "Clear."]


def test_a_file_that_holds_no_image_is_listed_as_reading_it_calls_it(hospital: Path, tmp_path: Path) -> None:
    files = {"empty": b"", "corrupt": bytes(200), "pointer": b"version https://git-lfs.github.com/spec/v1\n"}
    files |= {"not_dicom": b"notes"}
    for reason, content in files.items():
        (hospital / "b" / reason).mkdir(parents=True)
        (hospital / "b" / reason / "x.dcm").write_bytes(content)
    write_dicom(hospital / "b/good/a.dcm", patient="MRN1", accession="A1", study="1.2.1")
    listed = {reason: [f"b/{reason}/x.dcm"] for reason in files}
    for layout, options in (("hospital", {"images": "b"}), ("image_folder", {"images": "b"})):
        found = index_cohort(layout, hospital, {**options, "key_file": str(tmp_path / "key")}).meta["skipped"]
        assert found | listed == found, layout  # type: ignore[operator]


def test_a_file_without_preamble_is_an_image_of_its_hospital(hospital: Path, tmp_path: Path) -> None:
    write_dicom(hospital / "d/1/PA2.dcm", patient="MRN1", accession="A1", study="1.2.1")
    whole = (hospital / "d/1/PA2.dcm").read_bytes()
    (hospital / "d/1/PA2.dcm").write_bytes(whole[132:])
    assert read_image(hospital / "d/1/PA2.dcm").pixels.shape == (2, 2)
    manifest = index_cohort("hospital", hospital, {"key_file": str(tmp_path / "key")})
    records = {str(record["image"]): record for record in map(manifest.record, range(len(manifest)))}
    assert records["d/1/PA2.dcm"]["id.patient"] == records["d/1/PA.dcm"]["id.patient"]


def test_links_that_lead_out_of_a_hospital_are_listed_and_not_followed(hospital: Path, tmp_path: Path) -> None:
    write_dicom(tmp_path / "elsewhere/x.dcm", patient="MRN1", accession="A1", study="1.2.1")
    (hospital / "d/1/x.dcm").symlink_to(tmp_path / "elsewhere/x.dcm")
    (hospital / "d/1/same.dcm").symlink_to(hospital / "d/1/PA.dcm")
    (hospital / "d/2/more").symlink_to(tmp_path / "elsewhere")
    (hospital / "d/gone.dcm").symlink_to("nowhere.dcm")
    (hospital / "all").symlink_to(tmp_path / "elsewhere")
    key = {"key_file": str(tmp_path / "key")}
    manifest = index_cohort("hospital", hospital, key)
    skipped = manifest.meta["skipped"]
    assert {reason: skipped[reason] for reason in skipped if reason not in ("not_dicom", "other_modality")} == {  # type: ignore[index, attr-defined]
        "linked_folder": ["all", "d/2/more"],
        "outside_the_root": ["d/1/x.dcm"],
        "repeated": ["d/1/same.dcm"],
        "not_found": ["d/gone.dcm"],
    }
    assert len(manifest) == 3
    with pytest.raises(DataError, match=r"/all leads out of .*: give a root that holds the images themselves"):
        index_cohort("hospital", hospital, {**key, "images": "all"})


def test_a_hospital_folder_that_cannot_be_joined_is_one_sentence(hospital: Path, tmp_path: Path) -> None:
    key = {"key_file": str(tmp_path / "key")}
    with pytest.raises(DataError, match=r"has no column 'Reports': did you mean 'Report'.*columns=\{Report: COLUMN\}"):
        index_cohort("hospital", hospital, {**key, "columns": {"Report": "Reports"}})
    with pytest.raises(DataError, match=r"holds no MG image \(1 not_dicom, 6 other_modality\)"):
        index_cohort("hospital", hospital, {**key, "images": "d", "modalities": ["MG"]})
    with pytest.raises(DataError, match=r"reports.xls does not exist: check .* \(.*reports.csv there\)"):
        index_cohort("hospital", hospital, {**key, "reports": "reports.xls"})
    write_table(hospital / "other.csv", [{"AccessionNumber": "Z", "Report": "x"}], delimiter=";")
    with pytest.raises(DataError, match=r"None of the 5 images .* joins a report of .* by AccessionNumber"):
        index_cohort("hospital", hospital, {**key, "reports": "other.csv"})
    (hospital / "latin.csv").write_bytes("AccessionNumber,Report\nA1,Ödem\n".encode("latin-1"))
    with pytest.raises(
        DataError,
        match=r"not in the encoding utf-8-sig: save it as UTF-8, .*; of the layouts csv and hospital encoding=cp1252",
    ):
        index_cohort("hospital", hospital, {**key, "reports": "latin.csv"})
    manifest = index_cohort("hospital", hospital, {**key, "reports": "latin.csv", "encoding": "latin-1"})
    assert set(manifest.column("text")) == {"Ödem"}
    with pytest.raises(ConfigError, match=r"data\.layout\.reprots is not a known key: did you mean 'reports'"):
        index_cohort("hospital", hospital, {"reprots": "x"})
    with pytest.raises(ConfigError, match="did you mean 'hospital'"):
        index_cohort("hospitl", hospital)


# csv ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "img" / name).touch()
    rows = [
        {
            "who": "007",
            "folder": "img",
            "file": "a.png",
            "note": "Clear.",
            "pneumonia": "0",
            "kind": "X-ray",
            "age": "61",
        },
        {"who": "008", "folder": "img", "file": "b.png", "note": "", "pneumonia": "-1", "kind": "X-ray", "age": ""},
        {"who": "008", "folder": "img", "file": "c.nii", "note": "CT.", "pneumonia": "", "kind": "CT", "age": "7"},
    ]
    write_table(tmp_path / "metadata.csv", rows)
    return tmp_path


COLUMNS = {
    "image": "{folder}/{file}",
    "text": "note",
    "patient_id": "who",
    "label.pneumonia": "pneumonia",
    "age": "age",
}


def test_any_table_becomes_a_manifest(table: Path) -> None:
    manifest = index_cohort("csv", table, {"columns": COLUMNS, "where": {"kind": "X-ray"}})
    assert [manifest.record(i) for i in range(2)] == [
        {
            "id": "img/a.png",
            "image": "img/a.png",
            "text": "Clear.",
            "id.patient": "007",
            "label.pneumonia": 0.0,
            "age": 61,
        },
        {"id": "img/b.png", "image": "img/b.png", "id.patient": "008", "label.pneumonia": -1.0},
    ]
    assert manifest.path(0) == (table / "img/a.png").resolve()
    hidden = index_cohort("csv", table, {"columns": COLUMNS, "pseudonymise": True, "key_file": str(table / "key")})
    assert len(set(hidden.column("id.patient"))) == 2
    assert not set(hidden.column("id.patient")) & {"007", "008"}


def test_a_number_that_is_reached_is_a_label(table: Path) -> None:
    columns = {"image": "{folder}/{file}", "label.old": "age >= 60", "label.born": "age>=0"}
    manifest = index_cohort("csv", table, {"columns": columns})
    assert manifest.column("label.old").tolist()[::2] == [1.0, 0.0]
    assert math.isnan(manifest.column("label.old")[1])
    assert manifest.column("label.born").tolist()[::2] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"columns": {**COLUMNS, "label.old": "kind>=60"}}, "line 2: kind is 'X-ray', no number that could reach 60"),
        ({"columns": {**COLUMNS, "text": "notes"}}, "has no column 'notes': did you mean 'note'?"),
        (
            {"columns": {**COLUMNS, "image": "{folder}/{fil}"}},
            "no column 'fil', asked for by '{folder}/{fil}': did you mean",
        ),
        ({"columns": {**COLUMNS, "image": "file"}}, "None of the 3 files of the column 'image' exists, the first is"),
        (
            {"columns": {**COLUMNS, "label.pneumonia": "who"}},
            "label.pneumonia of record 'img/a.png' is 7: a label is 1",
        ),
        ({"columns": COLUMNS, "where": {"kind": "MR"}}, "no row left where kind is 'MR': the column holds CT, X-ray"),
        ({"columns": {"patient_id": "who"}}, "nothing to encode"),
        ({"columns": {**COLUMNS, "image": "../{file}"}}, "leaves the folder"),
    ],
)
def test_a_wrong_column_is_one_sentence(table: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        index_cohort("csv", table, options)
    assert sentence in str(caught.value)


def test_the_only_table_is_found_and_of_several_one_must_be_named(table: Path) -> None:
    (table / "._metadata.csv").write_bytes(b"\x00\x05\x16\x07")
    assert len(index_cohort("csv", table, {"columns": COLUMNS})) == 3
    (table / "second.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"must say which one is meant \(there: metadata.csv, second.csv\)"):
        index_cohort("csv", table, {"columns": COLUMNS})
    (table / "bad.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(DataError, match="line 2: 3 values under 2 columns"):
        index_cohort("csv", table, {"columns": COLUMNS, "table": "bad.csv"})


@pytest.mark.skipif(not COVID.is_dir(), reason="the data pack covid-cxr is not at hand")
def test_the_covid_notes_are_read_in_place_and_split_without_leaks() -> None:
    columns = {
        "image": "{folder}/{filename}",
        "text": "clinical_notes",
        "patient_id": "patientid",
        "view_position": "view",
    }
    manifest = index_cohort("csv", COVID, {"table": "metadata.csv", "columns": columns})
    assert len(manifest) == 96
    assert len(manifest.having("text")) == 50
    assert check_split(by_patient(manifest).apply(manifest)) == []


# pseudonyms ---------------------------------------------------------------------------------------------------------


def test_a_pseudonym_is_hmac_sha256_under_a_private_key(tmp_path: Path) -> None:
    path = tmp_path / "a" / "key"
    key = secret_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pseudonym("4711", key, prefix="p") == "p" + hmac.new(key, b"4711", "sha256").hexdigest()[:16]
    assert secret_key(tmp_path / "b") != key
    path.write_text("short")
    with pytest.raises(DataError, match="not a pseudonym key of 32 bytes"):
        secret_key(path)


# phantom ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[..., object] = pytest.importorskip("medvlp.phantom.cohort").make_cohort
    out = tmp_path_factory.mktemp("phantom") / "hospital"
    make(out, patients=6, image_size=64, workers=1)
    return out


def test_the_phantom_is_the_hospital_folder_with_its_truth(phantom: Path, tmp_path: Path) -> None:
    manifest = index_cohort("phantom", phantom)
    plain = index_cohort("hospital", phantom, {"images": "dicom", "key_file": str(tmp_path / "key")})
    assert sorted(manifest.column("image")) == sorted(plain.column("image"))
    reports = dict(zip(plain.column("image"), plain.column("text"), strict=True))
    assert all(
        reports[path] == text for path, text in zip(manifest.column("image"), manifest.column("text"), strict=True)
    )
    assert len(manifest.names_of("label")) >= 10
    assert set(manifest.column("split")) == {"train", "validate", "test"}
    assert check_split(manifest, images=False) == []
    planted = read_planted(phantom)
    assert planted is not None
    assert planted.boxes
    assert set(planted.boxes) <= set(manifest.column("image"))
    rows = {path: row for row, path in enumerate(manifest.column("image"))}
    for path, found in planted.boxes.items():
        study = manifest.column("id.study")[rows[path]]
        for each in found:
            x0, y0, x1, y1 = each.box
            assert manifest.column(f"label.{each.name}")[rows[path]] == 1
            assert each.name in {finding.name for finding in planted.findings[study]}
            assert (study, each.name) in planted.sentences
            assert x0 < x1
            assert y0 < y1


def test_an_unfinished_or_changed_phantom_is_one_sentence(phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no complete phantom cohort .*medvlp phantom"):
        index_cohort("phantom", tmp_path)
    victim = sorted((phantom / "dicom").rglob("*.dcm"))[0]
    aside = phantom / "aside"
    os.replace(victim, aside)
    try:
        with pytest.raises(DataError, match="lacks 1 radiographs of its truth and holds 0 others"):
            index_cohort("phantom", phantom)
    finally:
        os.replace(aside, victim)


def test_a_key_that_could_not_be_written_whole_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGKILL or on a full disk: the next command makes one, and does not refuse half a key for ever."""

    def full(count: int) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(secrets, "token_hex", full)
    with pytest.raises(UserError, match=r"The disk is full: .*key could not be written"):
        secret_key(tmp_path / "key")
    monkeypatch.undo()
    assert secret_key(tmp_path / "key") == secret_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
