"""One radiograph with 33 planted identifiers: wherever a file can hold a name, a number or free text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import BasicTextSRStorage

from medvlp.phantom.devices import SCANNERS
from tests.phantom.test_write_dicom import write

#: What must not be in any byte of the output. Each is a word of its own.
PLANTED = (
    "ZQNAME", "ZQGIVEN", "ZQ4711001", "ZQOTHER02", "ZQACC003", "ZQREFER", "ZQPERFORM", "ZQOPERATOR", "ZQHOSPITAL",
    "ZQSTREET", "ZQDEPT", "ZQSTATION", "ZQSERIAL", "ZQSTUDYDESC", "ZQSERIESDESC", "ZQCOMMENT", "ZQHISTORY", "ZQPHONE",
    "ZQREQUEST", "ZQREASON", "ZQPHYSICIAN", "ZQNESTED", "ZQPERSONCODE", "ZQPRIVATE", "ZQPRIVSEQ", "ZQOVERLAY",
    "ZQCURVE", "ZQPREAMBLE", "ZQAETITLE", "ZQKEPT", "ZQPADDING", "ZQICON", "ZQUNKNOWN",
)  # fmt: skip
DATES = ("19510312", "20240229", "20240307")


def planted(folder: Path, *, scanner: int = 0, name: str = "planted.dcm") -> Path:
    """Write the radiograph; its pixels are the synthetic hospital's."""
    write(folder / name, SCANNERS[scanner])
    ds = dcmread(folder / name)
    ds.PatientName, ds.PatientID = "ZQNAME^ZQGIVEN", "ZQ4711001"
    ds.OtherPatientIDs, ds.AccessionNumber = "ZQOTHER02", "ZQACC003"
    ds.PatientBirthDate, ds.StudyDate, ds.AcquisitionDate = DATES
    ds.PatientAge, ds.PatientSex = "072Y", "F"
    ds.ReferringPhysicianName, ds.PerformingPhysicianName, ds.OperatorsName = "ZQREFER", "ZQPERFORM", "ZQOPERATOR"
    ds.InstitutionName, ds.InstitutionAddress, ds.InstitutionalDepartmentName = "ZQHOSPITAL", "ZQSTREET", "ZQDEPT"
    ds.StationName, ds.DeviceSerialNumber, ds.StudyDescription = "ZQSTATION", "ZQSERIAL", "CHEST ZQSTUDYDESC"
    ds.SeriesDescription, ds.ImageComments = "PA ZQSERIESDESC", "ZQCOMMENT of ZQNAME"
    ds.AdditionalPatientHistory, ds.PatientTelephoneNumbers = "ZQHISTORY", "ZQPHONE"
    request = Dataset()
    request.RequestedProcedureDescription, request.ReasonForTheRequestedProcedure = "ZQREQUEST", "ZQREASON"
    request.RequestingPhysician = "ZQPHYSICIAN"
    ds.RequestAttributesSequence = [request]
    source = Dataset()  # is kept, with what it holds made new
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = ds.SOPClassUID, "2.25.4711"
    source.PatientName, source.PatientID = "ZQNESTED", "ZQ4711001"
    ds.SourceImageSequence = [source]
    person = Dataset()
    person.CodeValue, person.CodingSchemeDesignator, person.CodeMeaning = "ZQPERSONCODE", "99LOCAL", "ZQNAME"
    operator = Dataset()
    operator.PersonIdentificationCodeSequence, operator.InstitutionName = [person], "ZQHOSPITAL"
    ds.OperatorIdentificationSequence = [operator]
    block = ds.private_block(0x0011, "ZQPRIVATE MAKER", create=True)
    inner = Dataset()
    inner.PatientName = "ZQPRIVSEQ"
    block.add_new(0x01, "SQ", [inner])
    ds.add_new(0x60001500, "LO", "ZQOVERLAY")
    ds.add_new(0x50000022, "LO", "ZQCURVE")
    ds.FilterType = "ZQKEPT ZQNAME"  # kept by the table: only the name in it is known
    ds.FilterType = "copper ZQNAME"
    ds.RequestedProcedureComments = "ZQKEPT"
    icon = Dataset()
    icon.ImageComments = "ZQICON"
    ds.IconImageSequence = [icon]
    ds.add_new(0x00091234, "LO", "ZQPRIVATE")
    ds.add_new(0x00080FFF, "LO", "ZQUNKNOWN")  # an attribute that no dictionary knows
    ds.add_new(0xFFFCFFFC, "OB", b"ZQPADDING\0")
    ds.preamble = b"MZ ZQPREAMBLE".ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = "ZQAETITLE"
    dcmwrite(folder / name, ds, enforce_file_format=True)
    data = (folder / name).read_bytes()
    missing = [word for word in PLANTED if word.encode() not in data]
    assert not missing, missing
    return folder / name


def report(folder: Path) -> Path:
    """An SR of the same patient with a sentence, a name, a date and a reference to the radiograph."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = BasicTextSRStorage, "2.25.91", "2.25.92"
    ds.SeriesInstanceUID, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "2.25.93", "SR", 1, 1
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "ZQNAME^ZQGIVEN", "ZQ4711001", "19510312", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240229", "", "", "ZQACC003"
    ds.ReferringPhysicianName, ds.ContentDate, ds.ContentTime, ds.Manufacturer = "", "20240307", "101500", "m"
    ds.ReferencedPerformedProcedureStepSequence, ds.PerformedProcedureCodeSequence = [], []
    ds.CompletionFlag, ds.VerificationFlag, ds.ValueType, ds.ContinuityOfContent = (
        "PARTIAL", "UNVERIFIED", "CONTAINER", "SEPARATE",
    )  # fmt: skip
    ds.ConceptNameCodeSequence = [code("18748-4", "LN", "Diagnostic imaging report")]
    text, person, day = Dataset(), Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", "Ms ZQNAME of 12/03/1951 has a nodule of 8 mm. Signed by ZQSIGNER, MD"
    person.ValueType, person.PersonName = "PNAME", "ZQREFER"
    day.ValueType, day.Date = "DATE", "20240229"
    for item, name in ((text, ("121071", "DCM", "Finding")), (person, ("121008", "DCM", "Person Observer Name")),
                       (day, ("111060", "DCM", "Study Date"))):  # fmt: skip
        item.RelationshipType, item.ConceptNameCodeSequence = "CONTAINS", [code(*name)]
    ds.ContentSequence = [text, person, day]
    dcmwrite(folder / "report.dcm", ds, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return folder / "report.dcm"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def ramp(size: int = 64) -> np.ndarray:
    """A smooth picture of 12 bits."""
    return np.add.outer(np.arange(size), np.arange(size)).astype(np.uint16) * 20
