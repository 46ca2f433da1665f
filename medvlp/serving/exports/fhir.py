"""A FHIR R4 DiagnosticReport as JSON: preliminary, with an Observation a finding and the model as the Device."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medvlp import __version__
from medvlp.serving.exports.codes import CATEGORIES, PROBABILITY, THRESHOLD, code_of, examination, side_of
from medvlp.serving.exports.shown import BANNER, Finding, Shown

_SYSTEMS = {
    "SCT": "http://snomed.info/sct", "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org", "99MEDVLP": "urn:medvlp:codes",
}  # fmt: skip
_RADIOLOGY = "http://terminology.hl7.org/CodeSystem/v2-0074"


def fhir_bytes(shown: Shown) -> bytes:
    """Return the report (http://hl7.org/fhir/R4/diagnosticreport.html) with all it refers to contained in it.

    Patient and study are referred to by identifier where the source is a DICOM file, and not at all where it is none.

    Raises:
        UserError: no finding is shown and none was refused; a report without any reads as one of nothing found.
    """
    if not shown.refused:
        shown.need_findings()
    header = None if shown.source is None else shown.header()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    observations = [_observation(each, number, header) for number, each in enumerate(shown.findings, 1)]
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "text": {"status": "generated", "div": _narrative(shown)},
        "contained": [_device(shown), *observations],
        "status": "preliminary",
        "category": [{"coding": [{"system": _RADIOLOGY, "code": "RAD", "display": "Radiology"}]}],
        "code": _concept(examination(str(header.get("Modality", "")) if header is not None else "")),
        **_subject(header),
        "issued": now,
        "result": [{"reference": f"#{each['id']}"} for each in observations],
        "conclusion": "; ".join([BANNER, *(f"{f.title}: {f.category.replace('_', ' ')}" for f in shown.findings),
                                 *([shown.refused] if shown.refused else [])]),
    }  # fmt: skip
    if not observations:
        del report["result"], report["contained"]
    if header is not None and header.get("StudyInstanceUID"):
        study = {"system": "urn:dicom:uid", "value": f"urn:oid:{header.StudyInstanceUID}"}
        report["imagingStudy"] = [{"type": "ImagingStudy", "identifier": study}]
    return (json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _observation(finding: Finding, number: int, header: Dataset | None) -> dict[str, Any]:
    numbers = ((PROBABILITY, finding.probability), (THRESHOLD, finding.threshold))
    side = side_of(finding)
    found: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"finding{number}",
        "status": "preliminary",
        "code": _concept(code_of(finding)),
        **_subject(header),
        "valueCodeableConcept": _concept(CATEGORIES[finding.category]),
        "device": {"reference": "#model"},
        "component": [
            {
                "code": _concept(name),
                "valueQuantity": {"value": round(value, 6), "system": _SYSTEMS["UCUM"], "code": "1"},
            }
            for name, value in numbers
            if value is not None
        ],
    }
    if side is not None:
        found["component"].append({"code": _concept(Code("272741003", "SCT", "Laterality")),
                                   "valueCodeableConcept": _concept(side)})  # fmt: skip
    if finding.sentence:
        found["note"] = [{"text": finding.sentence}]
    if not found["component"]:
        del found["component"]
    return found


def _device(shown: Shown) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": "model",
        "manufacturer": "medvlp",
        "deviceName": [{"name": shown.model, "type": "model-name"}],
        "version": [{"value": shown.model_hash}, {"value": f"medvlp {__version__}"}],
        "note": [{"text": line} for line in (BANNER, *shown.made_by)],
    }


def _subject(header: Dataset | None) -> dict[str, Any]:
    if header is None or not header.get("PatientID"):
        return {}
    return {"subject": {"type": "Patient", "identifier": {"value": str(header.PatientID)}}}


def _concept(code: Code) -> dict[str, Any]:
    coding = {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}
    return {"coding": [coding], "text": code.meaning}


def _narrative(shown: Shown) -> str:
    from html import escape

    lines = (f"{f.title}: {f.category.replace('_', ' ')} {f.sentence}".strip() for f in shown.findings)
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    made = "; ".join(shown.made_by)
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><p><b>{BANNER}</b></p>{listed}<p>{escape(made)}</p></div>'
