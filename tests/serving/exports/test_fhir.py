"""The FHIR report, by the elements that R4 requires (hl7.org/fhir/R4: diagnosticreport, observation, device)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medvlp.serving.exports.kinds import export
from medvlp.serving.exports.shown import BANNER, Shown
from tests.serving.exports.shown_files import HASH, ct_slice, shown

# Elements of R4, without those that every resource has; what is not listed there is no FHIR.
REPORT = {"identifier", "basedOn", "status", "category", "code", "subject", "encounter", "effectiveDateTime", "issued",
          "performer", "resultsInterpreter", "specimen", "result", "imagingStudy", "media", "conclusion",
          "conclusionCode", "presentedForm"}  # fmt: skip
OBSERVATION = {"status", "category", "code", "subject", "valueCodeableConcept", "interpretation", "note", "bodySite",
               "method", "device", "referenceRange", "component"}  # fmt: skip
DEVICE = {
    "identifier",
    "status",
    "manufacturer",
    "serialNumber",
    "deviceName",
    "modelNumber",
    "type",
    "version",
    "note",
}
EVERY = {"resourceType", "id", "text", "contained", "meta", "language"}


def report_of(said: Shown) -> dict[str, Any]:
    return json.loads(export(said, "fhir").data)


def test_elements_are_those_of_r4_and_status_is_preliminary(tmp_path: Path) -> None:
    report = report_of(shown(ct_slice(tmp_path)))
    assert report["resourceType"] == "DiagnosticReport"
    assert set(report) <= REPORT | EVERY
    assert report["status"] == "preliminary"
    assert report["code"]["coding"][0] == {
        "system": "http://snomed.info/sct", "code": "77477000", "display": "Computed tomography",
    }  # fmt: skip
    for each in report["contained"]:
        allowed = {"Observation": OBSERVATION, "Device": DEVICE}[each["resourceType"]]
        assert set(each) <= allowed | EVERY
        assert each.get("status", "preliminary") == "preliminary"


def test_every_reference_is_contained_and_everything_contained_is_referred_to(tmp_path: Path) -> None:
    report = report_of(shown(ct_slice(tmp_path)))
    ids = {f"#{each['id']}" for each in report["contained"]}
    used = {each["reference"] for each in report["result"]}
    used |= {each["device"]["reference"] for each in report["contained"] if "device" in each}
    assert used == ids


def test_findings_keep_category_probability_and_threshold(tmp_path: Path) -> None:
    report = report_of(shown(ct_slice(tmp_path)))
    first = next(each for each in report["contained"] if each["id"] == "finding1")
    assert first["valueCodeableConcept"]["coding"][0]["display"] == "Present"
    values = [part["valueQuantity"]["value"] for part in first["component"] if "valueQuantity" in part]
    assert values == [0.43, 0.3]
    assert first["note"] == [{"text": "0.43, twice its base rate, above its threshold 0.30"}]
    device = next(each for each in report["contained"] if each["resourceType"] == "Device")
    assert {"value": HASH} in device["version"]


def test_study_and_patient_are_named_by_identifier_and_the_banner_comes_first(tmp_path: Path) -> None:
    report = report_of(shown(ct_slice(tmp_path)))
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:2.25.12"}
    assert report["subject"]["identifier"] == {"value": "4711"}
    assert report["conclusion"].startswith(BANNER)
    assert "Doe" not in json.dumps(report)


@pytest.mark.parametrize("findings", [True, False])
def test_a_picture_that_is_no_dicom_file_has_no_subject(tmp_path: Path, findings: bool) -> None:
    said = replace(shown(ct_slice(tmp_path)), source=None)
    report = report_of(said if findings else replace(said, findings=(), refused="The picture is blank."))
    assert not {"subject", "imagingStudy"} & set(report)
    assert findings or ("The picture is blank." in report["conclusion"] and "result" not in report)
