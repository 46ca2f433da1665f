"""SR, SEG and secondary capture: right by a strict referee, read back by another library, on the source's grid."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage

from medvlp.core.errors import DataError, UserError
from medvlp.phantom.devices import SCANNERS
from medvlp.serving.exports.kinds import KINDS, export
from medvlp.serving.exports.picture import render
from medvlp.serving.exports.shown import BANNER
from tests.dicom_check import errors_of, needs_dciodvfy
from tests.serving.exports.shown_files import FINDINGS, HASH, ct_slice, heat, radiograph, shown

hd = pytest.importorskip("highdicom")


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def texts(dataset: Dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.VR != "SQ"]


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["sr", "seg", "sc"])
@pytest.mark.parametrize("mask", [False, True])
def test_the_referee_finds_no_error(tmp_path: Path, kind: str, mask: bool) -> None:
    for number, source in enumerate((radiograph(tmp_path), radiograph(tmp_path, 3), ct_slice(tmp_path))):
        path = tmp_path / f"{number}.out"
        path.write_bytes(export(shown(source, mask=mask), kind).data)
        assert errors_of(path) == [], source.name


@pytest.mark.parametrize("scanner", range(len(SCANNERS)))
def test_every_device_can_be_reported(tmp_path: Path, scanner: int) -> None:
    source = radiograph(tmp_path, scanner)
    report = read(export(shown(source), "sr").data)
    assert report.StudyInstanceUID == dcmread(source).StudyInstanceUID


@pytest.mark.parametrize("kind", ["sr", "seg", "sc"])
@pytest.mark.parametrize(
    ("second", "name"),
    [("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"), ("ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동")],
    ids=["Japanese", "Korean"],
)
def test_a_name_in_several_character_sets_is_the_same_in_what_is_exported(
    tmp_path: Path, kind: str, second: str, name: str
) -> None:
    source = radiograph(tmp_path)
    header = dcmread(source)
    header.SpecificCharacterSet, header.PatientName = ["", second], name
    header.save_as(source)
    assert str(read(export(shown(source), kind).data).PatientName) == str(dcmread(source).PatientName) == name


def test_the_report_is_preliminary_unverified_and_names_its_model(tmp_path: Path) -> None:
    report = read(export(shown(radiograph(tmp_path)), "sr").data)
    flags = (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag)
    assert flags == ("PARTIAL", "PRELIMINARY", "UNVERIFIED")
    said = texts(report)
    assert {BANNER, HASH, "preset=dicom_voi_v1", "operating point=youden"} <= set(said)


def test_what_leaves_the_page_says_that_its_model_was_trained_on_synthetic_patients(tmp_path: Path) -> None:
    plain = shown(radiograph(tmp_path))
    said = "trained on synthetic patients"
    for kind in ("sr", "sc", "fhir"):
        assert said.encode() not in export(plain, kind).data
        assert said.encode() in export(replace(plain, synthetic=True), kind).data
    assert render(replace(plain, synthetic=True)).tolist() != render(plain).tolist()


def test_highdicom_reads_every_finding_of_the_report_back(tmp_path: Path) -> None:
    report = hd.sr.srread(io.BytesIO(export(shown(radiograph(tmp_path)), "sr").data))
    found = {}
    for group in report.content.get_image_measurement_groups():
        numbers = {m.name.value: m.value for m in group.get_measurements()}
        presence = [e.value.meaning for e in group.get_qualitative_evaluations() if e.name.value == "705057003"]
        found[group.tracking_identifier] = (presence, numbers)
    assert found == {
        "effusion": (["Present"], {"probability": 0.43, "threshold": 0.3}),
        "rib fracture": (["Absent"], {"probability": 0.02, "threshold": 0.15}),
        "pneumothorax": (["Not calibrated"], {}),
    }


def test_a_mask_comes_back_bit_for_bit_and_a_map_within_half_a_level(tmp_path: Path) -> None:
    for source, (rows, columns) in ((radiograph(tmp_path), (96, 96)), (ct_slice(tmp_path), (40, 50))):
        uid = dcmread(source).SOPInstanceUID
        mask = hd.seg.segread(io.BytesIO(export(shown(source, mask=True), "seg").data))
        back = mask.get_pixels_by_source_instance([uid])[0, ..., 0]
        assert (back == (heat(rows, columns) > 0.5)).all()
        fractional = hd.seg.segread(io.BytesIO(export(shown(source), "seg").data))
        back = fractional.get_pixels_by_source_instance([uid], rescale_fractional=True)[0, ..., 0]
        assert np.abs(back - heat(rows, columns)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("kind", ["12.1", "12.2", "3.1", "20"])  # XA, RF, US and NM may have frames, and need not
def test_a_picture_of_a_class_that_may_have_frames_has_its_segmentation(tmp_path: Path, kind: str) -> None:
    said = shown(radiograph(tmp_path), mask=True)
    header = said.header()
    header.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
    made = hd.seg.segread(io.BytesIO(export(replace(said, source=header), "seg").data))
    assert (made.get_pixels_by_source_instance([header.SOPInstanceUID])[0, ..., 0] == said.layer.values).all()
    assert "NumberOfFrames" not in header


def test_a_segmentation_of_a_slice_lies_where_the_slice_lies(tmp_path: Path) -> None:
    source = dcmread(ct_slice(tmp_path))
    made = read(export(shown(tmp_path / "ct.dcm", mask=True), "seg").data)
    shared, frame = made.SharedFunctionalGroupsSequence[0], made.PerFrameFunctionalGroupsSequence[0]
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(source.ImagePositionPatient)
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == list(source.ImageOrientationPatient)
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(source.PixelSpacing)
    assert shared.PixelMeasuresSequence[0].SliceThickness == source.SliceThickness


def test_a_segmentation_of_an_enhanced_image_of_one_frame_has_the_measures_of_its_functional_groups(
    tmp_path: Path,
) -> None:
    """PS3.3 C.7.6.16.2.1: its pixel spacing and slice thickness stand nowhere else."""
    path = ct_slice(tmp_path)
    ds, groups, parts = dcmread(path), (Dataset(), Dataset()), (Dataset(), Dataset(), Dataset())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    places = ("PixelSpacing", "SliceThickness"), ("ImageOrientationPatient",), ("ImagePositionPatient",)
    for part, keywords in zip(parts, places, strict=True):
        for keyword in keywords:
            setattr(part, keyword, ds[keyword].value)
            delattr(ds, keyword)
    ds.NumberOfFrames, ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = (
        1,
        groups[:1],
        groups[1:],
    )
    groups[0].PixelMeasuresSequence, groups[0].PlaneOrientationSequence = [parts[0]], [parts[1]]
    groups[1].PlanePositionSequence = [parts[2]]
    ds.save_as(path)
    made = read(export(shown(path, mask=True), "seg").data)
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (list(measures.PixelSpacing), measures.SliceThickness) == ([0.8, 0.5], 2.5)
    place = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    assert list(place.ImagePositionPatient) == [-12.5, -20.25, 33.0]


def test_a_capture_holds_the_picture_that_is_drawn_in_the_same_study(tmp_path: Path) -> None:
    source = radiograph(tmp_path)
    made, said = read(export(shown(source), "sc").data), shown(source)
    assert (made.pixel_array == render(said)).all()
    assert (made.StudyInstanceUID, made.PatientID) == (said.header().StudyInstanceUID, said.header().PatientID)
    assert made.ImageComments == BANNER
    assert HASH[:16] in made.DerivationDescription


def test_names_of_files_tell_nothing_of_the_patient(tmp_path: Path) -> None:
    """A word of the program and eight digits drawn by chance, which may be those of a patient's number too."""
    source = ct_slice(tmp_path)
    for kind, (word, _, _) in KINDS.items():
        stem, suffix = word.split(".")
        one, other = (export(shown(source), kind).filename for _ in range(2))
        assert re.fullmatch(rf"medvlp-{stem}-[0-9a-f]{{8}}\.{suffix}", one)
        assert one != other


@pytest.mark.parametrize("kind", ["sr", "seg", "sc", "fhir"])
def test_no_value_of_the_header_is_warned_of(tmp_path: Path, kind: str) -> None:
    source = radiograph(tmp_path)
    header = dcmread(source)
    header.PatientName, header.ReferringPhysicianName = "Miller", "Smith"  # one part each, of which highdicom warns
    header.save_as(source)
    uid = str(header.StudyInstanceUID).encode()
    source.write_bytes(source.read_bytes().replace(uid, uid[:-6] + b"MILLER"))  # against the standard: pydicom warns
    said = shown(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert b"MILLER" in export(said, kind).data
    assert [str(each.message) for each in caught] == []


def test_a_header_without_what_may_be_empty_is_enough(tmp_path: Path) -> None:
    said = shown(ct_slice(tmp_path))
    header = said.header()
    for keyword in ("PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        delattr(header, keyword)
    for kind in ("sr", "seg", "sc"):
        assert read(export(replace(said, source=header), kind).data).PatientID in ("", None)
    assert "PatientID" not in header
    del header.SliceThickness
    with pytest.raises(DataError, match="nothing of its slice thickness"):
        export(replace(said, source=header), "seg")
    header = said.header()
    del header.ImageOrientationPatient
    with pytest.raises(DataError, match=r"header does not allow it \(AttributeError\)"):
        export(replace(said, source=header), "seg")


def test_what_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    said = shown(radiograph(tmp_path))
    with pytest.raises(UserError, match="There is no export 'pdf': choose sr, seg"):
        export(said, "pdf")
    for kind in ("sr", "fhir"):  # a report of none would read as one of nothing found
        with pytest.raises(UserError, match="No finding is shown, so there is nothing to report"):
            export(replace(said, findings=()), kind)
    with pytest.raises(UserError, match="No map or mask is shown"):
        export(replace(said, layer=None), "seg")
    with pytest.raises(DataError, match="comes from no DICOM file"):
        export(replace(said, source=None), "sc")
    with pytest.raises(UserError, match="place it in the source"):
        replace(said, layer=replace(said.layer, values=np.zeros((2, 2))))
    with pytest.raises(DataError, match="differ in rows or columns"):
        export(replace(said, pixels=said.pixels[:-1], layer=None), "sr")
    header = said.header()
    del header.StudyInstanceUID
    with pytest.raises(DataError, match="has no StudyInstanceUID, so nothing can refer to it"):
        export(replace(said, source=header), "sr")
    header = said.header()
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if keyword in header:
            delattr(header, keyword)
    with pytest.raises(DataError, match="says nothing of its pixel spacing"):
        export(replace(said, source=header), "seg")
    assert FINDINGS[0].title == "effusion"
