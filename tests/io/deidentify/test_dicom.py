"""No planted identifier in any byte of the output, the picture as it was, and the file as right as it was."""

from __future__ import annotations

import io
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.tag import BaseTag, Tag

from medvlp.io import UnreadableImage, read_image
from medvlp.io.deidentify.dicom import deidentify_dicom
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret
from medvlp.phantom.devices import SCANNERS
from medvlp.text.deidentify import deidentify_text
from tests.dicom_check import errors_of, needs_dciodvfy
from tests.io.deidentify.planted import DATES, PLANTED, planted, report

SECRET = Secret(b"k" * 32)
PROFILES = {
    "basic": Profile(dates="remove"),
    "shifted": Profile(),
    "descriptors": Profile(descriptors=True),
    "patient": Profile(patient=True),
    "unseen": Profile(pixels="keep"),
}
#: Words that only free text holds and that stay where descriptions are kept: nothing tells that they identify.
DESCRIBED = {"ZQSTUDYDESC", "ZQSERIESDESC", "ZQCOMMENT", "ZQHISTORY", "ZQREQUEST", "ZQREASON", "ZQKEPT"}


def cleaned(path: Path, profile: Profile | None = None, secret: Secret = SECRET) -> tuple[bytes, Dataset]:
    made = deidentify_dicom(path, profile=profile or Profile(), secret=secret, clean=deidentify_text)
    return made.data, dcmread(io.BytesIO(made.data))


@pytest.mark.parametrize("name", PROFILES)
def test_no_planted_identifier_is_in_any_byte(tmp_path: Path, name: str) -> None:
    data, _ = cleaned(planted(tmp_path), PROFILES[name])
    left = {word for word in (*PLANTED, *DATES) if word.encode() in data}
    assert left == (DESCRIBED & left if name == "descriptors" else set())
    for uid in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert str(dcmread(tmp_path / "planted.dcm")[uid].value).encode() not in data


@pytest.mark.parametrize("scanner", range(len(SCANNERS)))
def test_the_picture_is_the_same_to_every_reader(tmp_path: Path, scanner: int) -> None:
    path = planted(tmp_path, scanner=scanner)
    data, made = cleaned(path)
    assert np.array_equal(made.pixel_array, dcmread(path).pixel_array)
    (tmp_path / "out.dcm").write_bytes(data)
    assert np.array_equal(read_image(tmp_path / "out.dcm").pixels, read_image(path).pixels)


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small.dcm"])
def test_the_picture_of_a_file_without_meta_information_is_the_same(tmp_path: Path, name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    bare = tmp_path / "bare.dcm"  # PS3.10 7.1: behind preamble and prefix comes the length of group 2
    bare.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])
    (tmp_path / "out.dcm").write_bytes(cleaned(bare)[0])
    assert np.array_equal(read_image(tmp_path / "out.dcm").pixels, read_image(bare).pixels)


@needs_dciodvfy
@pytest.mark.parametrize("name", PROFILES)
def test_the_referee_finds_no_new_error(tmp_path: Path, name: str) -> None:
    for path in (planted(tmp_path), planted(tmp_path, scanner=3, name="b.dcm"), report(tmp_path)):
        data, _ = cleaned(path, PROFILES[name])
        (tmp_path / "out.dcm").write_bytes(data)
        before, after = (Counter(re.sub(r"[\d.]{6,}", "UID", line) for line in errors_of(each))
                         for each in (path, tmp_path / "out.dcm"))  # fmt: skip
        assert not after - before


@needs_dciodvfy
@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "US1_J2KR.dcm", "RG1_UNCR.dcm", "test-SR.dcm", "liver.dcm", "emri_small.dcm"],
)
def test_real_files_get_no_new_error(tmp_path: Path, name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    data, _ = cleaned(path)
    (tmp_path / "out.dcm").write_bytes(data)
    before, after = (Counter(re.sub(r"[\d.]{6,}", "UID", line) for line in errors_of(each))
                     for each in (path, tmp_path / "out.dcm"))  # fmt: skip
    assert not after - before


def test_the_same_key_gives_the_same_identifiers_and_another_key_others(tmp_path: Path) -> None:
    path = planted(tmp_path)
    first, again, other = (cleaned(path, secret=Secret(key * 32))[1] for key in (b"k", b"k", b"o"))
    for name in ("SOPInstanceUID", "PatientID", "AccessionNumber", "StudyDate"):
        assert first[name].value == again[name].value != other[name].value


def test_blanks_around_an_identifier_are_no_part_of_it() -> None:
    """PS3.5 6.2: LO and SH may be padded in front and behind; the table of reports has the same numbers without."""
    secret = Secret(b"k" * 32)
    assert secret.name(" 4711", prefix="p") == secret.name("4711 ", prefix="p") == secret.name("4711", prefix="p")
    assert secret.date("20240229", " 4711") == secret.date("20240229", "4711")
    assert secret.name(" ", prefix="p") == ""


def test_references_between_files_are_kept(tmp_path: Path) -> None:
    path, other = planted(tmp_path), planted(tmp_path, scanner=1, name="other.dcm")
    dataset = dcmread(other)
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = dcmread(path).SOPInstanceUID
    dcmwrite(other, dataset)
    (_, one), (_, two) = cleaned(path), cleaned(other)
    assert two.SourceImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert two.SourceImageSequence[0].PatientID == two.PatientID == one.PatientID
    assert two.SourceImageSequence[0].ReferencedSOPClassUID == dataset.SourceImageSequence[0].ReferencedSOPClassUID


def test_dates_keep_their_intervals_within_a_patient_and_times_of_day_stay(tmp_path: Path) -> None:
    path = planted(tmp_path)
    _, made = cleaned(path)
    before = dcmread(path)

    def days(dataset: Dataset) -> int:
        first, last = (datetime.strptime(dataset[name].value, "%Y%m%d") for name in ("StudyDate", "AcquisitionDate"))
        return (last - first).days

    assert days(made) == days(before) == 7
    assert (
        1 <= (datetime.strptime(before.StudyDate, "%Y%m%d") - datetime.strptime(made.StudyDate, "%Y%m%d")).days <= 3650
    )
    assert made.StudyTime == before.StudyTime
    _, sr = cleaned(report(tmp_path))
    assert sr.StudyDate == made.StudyDate
    assert sr.ContentSequence[2].Date == sr.StudyDate


@pytest.mark.parametrize(
    "value", ["202011", "202012", "2020022", "2020.1", "20200230", " 2020021", "20200101-20200202"]
)
def test_what_is_no_whole_date_becomes_empty(value: str) -> None:
    assert SECRET.date(value, "1") == ""


def test_a_report_keeps_its_tree_and_loses_its_words(tmp_path: Path) -> None:
    data, made = cleaned(report(tmp_path))
    assert [item.ConceptNameCodeSequence[0].CodeMeaning for item in made.ContentSequence] == [
        "Finding", "Person Observer Name", "Study Date",
    ]  # fmt: skip
    assert made.ContentSequence[0].TextValue == "REMOVED"
    data, made = cleaned(tmp_path / "report.dcm", Profile(descriptors=True))
    assert made.ContentSequence[0].TextValue == "XXXX of XXXX has a nodule of 8 mm. XXXX"
    assert not [word for word in (*PLANTED, "ZQSIGNER") if word.encode() in data]


def test_what_was_done_stands_in_the_file_by_its_codes(tmp_path: Path) -> None:
    _, made = cleaned(planted(tmp_path), Profile(patient=True, descriptors=True))
    codes = {item.CodeValue for item in made.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113101", "113103", "113105", "113107", "113108"}
    assert (made.PatientIdentityRemoved, made.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert (made.PatientSex, made.PatientAge) == ("F", "072Y")
    _, basic = cleaned(tmp_path / "planted.dcm", Profile(dates="remove"))
    assert (basic.PatientSex, basic.get("PatientAge"), basic.StudyDate) == ("", None, "")


def test_what_an_option_cleans_is_cleaned_or_removed(tmp_path: Path) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    dataset.MakerNote = b"serial 12345 owner Jane Doe."
    dataset.StationAETitle, dataset.ReasonForTheAttributeModification = "CT1_ZQNAME", "COERCE"
    dcmwrite(path, dataset)
    data, described = cleaned(path, Profile(descriptors=True))
    assert "MakerNote" not in described
    assert b"Jane Doe" not in data
    assert described.ReasonForTheAttributeModification == "COERCE"
    assert cleaned(path, Profile(device=True))[1].StationAETitle == "CT1_XXXX"


@pytest.mark.filterwarnings("ignore:The value for the data element")
def test_a_value_that_the_vr_of_its_attribute_forbids_is_not_kept(tmp_path: Path) -> None:
    """PS3.5 6.2: no code, number, date or time holds a name. What scanners write against it as a code stays."""
    dataset = dcmread(planted(tmp_path))
    wrong = {
        "ImageType": ["ORIGINAL", "ZQNAME^ZQGIVEN", "AXIAL"], "BodyPartExamined": "of Zqname", "KVP": "ZQNAME",
        "ExposureTime": "ZQNAME", "AcquisitionTime": "ZQNAME", "ContentDate": "ZQNAME", "PatientAge": "ZQNAME",
        "ScanOptions": "Chest", "FilterMaterial": "MO/RH", "SliceThickness": "0,5", "ViewPosition": "pa",
    }  # fmt: skip
    for keyword, value in wrong.items():
        tag = Tag(keyword)
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, already_converted=True)
    dcmwrite(tmp_path / "wrong.dcm", dataset)
    data, made = cleaned(tmp_path / "wrong.dcm", Profile(dates="retain", patient=True))
    assert b"ZQ" not in data.upper()
    assert made.ImageType == ["ORIGINAL", "", "AXIAL"]
    emptied = ("BodyPartExamined", "KVP", "ExposureTime", "AcquisitionTime", "ContentDate", "PatientAge")
    assert not [made[keyword].value for keyword in emptied if not made[keyword].is_empty]
    assert all(dictionary_VR(keyword) == made[keyword].VR for keyword in wrong)
    kept = ("ScanOptions", "FilterMaterial", "SliceThickness", "ViewPosition")
    assert {keyword: str(made[keyword].value) for keyword in kept} == {keyword: wrong[keyword] for keyword in kept}


@pytest.mark.filterwarnings("ignore:The value for the data element")
def test_long_values_of_unknown_vr_are_read_by_that_of_their_attribute(tmp_path: Path) -> None:
    """PS3.5 6.2.2: implicit, within a file of explicit VR; pydicom reads those below 64 KiB."""
    dataset, item, buffer = dcmread(planted(tmp_path)), Dataset(), DicomBytesIO()
    item.ReferencedSOPInstanceUID, item.PatientName, item.ContourData = "2.25.4711", "ZQNAME", ["0.125"] * 20_000
    buffer.is_implicit_VR = buffer.is_little_endian = True
    write_sequence(buffer, DataElement(0x00082112, "SQ", [item]), ["iso8859"])
    for tag, value in ((0x00082112, buffer.getvalue()), (0x00620006, b"ZQNAME, " * 10_000)):
        dataset[tag] = RawDataElement(BaseTag(tag), "UN", len(value), value, 0, False, True)
    dcmwrite(tmp_path / "unknown.dcm", dataset)
    data, made = cleaned(tmp_path / "unknown.dcm")
    assert b"ZQ" not in data
    (item,) = made.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == SECRET.uid("2.25.4711")
    assert item["ContourData"].value == b"\\".join([b"0.125"] * 20_000) + b" "  # too long for DS in explicit VR


def test_ages_above_90_are_90(tmp_path: Path) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    dataset.PatientAge = "097Y"
    dcmwrite(path, dataset)
    assert cleaned(path, Profile(patient=True))[1].PatientAge == "090Y"


def test_what_was_done_is_counted_without_values(tmp_path: Path) -> None:
    made = deidentify_dicom(planted(tmp_path), profile=Profile(), secret=SECRET)
    assert made.done["PatientID", "dummy"] == 2
    assert made.done["private", "remove"] >= 2
    assert made.done["StudyDate", "date"] == 1
    assert not [word for word in PLANTED if word in str(made.done)]


@pytest.mark.parametrize(
    ("name", "cut"), [("CT_small.dcm", 5000), ("CT_small.dcm", 36000), ("test-SR.dcm", 5), ("rtplan_truncated.dcm", 0)]
)
def test_a_file_that_is_cut_off_is_refused_and_not_written_as_a_whole_one(tmp_path: Path, name: str, cut: int) -> None:
    """Within pixels that nobody searches, within the header, within a value of a sequence."""
    data = Path(str(get_testdata_file(name))).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) - cut])
    with pytest.raises(UnreadableImage) as told:
        cleaned(tmp_path / "cut.dcm")
    assert told.value.reason == "truncated"


def test_sequences_that_nest_without_end_and_what_is_wrong_deep_in_them_end_in_a_sentence(tmp_path: Path) -> None:
    """pydicom's walk puts all that it said of an error into what it says one level up, twice."""
    for depth, inner, reason in ((10, b"\x28\0\x10\0US\3\0abc", "corrupt"), (100, b"", "bad_header")):
        for _ in range(depth):  # of defined lengths, so that nothing reads them before they are asked for
            item = b"\xfe\xff\0\xe0" + len(inner).to_bytes(4, "little") + inner
            inner = b"\x08\0\x12\x21SQ\0\0" + len(item).to_bytes(4, "little") + item
        data = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
        at = data.index(b"\x10\0\x10\0PN")
        (tmp_path / "deep.dcm").write_bytes(data[:at] + inner + data[at:])
        with pytest.raises(UnreadableImage) as told:
            cleaned(tmp_path / "deep.dcm")
        assert told.value.reason == reason
        assert len(str(told.value.__cause__)) < 1000


def test_what_swells_without_end_is_refused(dicom) -> None:
    path = dicom(b"\0" * 100_000_000, rows=10000, columns=10000, bits=8, syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(UnreadableImage, match="its deflated data set is larger than"):
        deidentify_dicom(path, profile=Profile(), secret=SECRET)


def test_documents_and_damage_are_refused_without_a_value(tmp_path: Path) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    for kind in ("104.1", "9.4.1"):  # an encapsulated PDF, a Basic Voice Audio Waveform
        dataset.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
        dcmwrite(tmp_path / "document.dcm", dataset)
        with pytest.raises(UnreadableImage, match="a document, film or voice"):
            cleaned(tmp_path / "document.dcm")
    del dataset.SOPInstanceUID
    dcmwrite(tmp_path / "nobody.dcm", dataset)
    with pytest.raises(UnreadableImage, match="lacks a SOP UID"):
        cleaned(tmp_path / "nobody.dcm")
    data = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) - 2000])
    with pytest.raises(UnreadableImage) as told:
        cleaned(tmp_path / "cut.dcm")
    assert not [word for word in PLANTED if word in str(told.value)]
