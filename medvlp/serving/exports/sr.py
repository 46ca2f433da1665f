"""A structured report by TID 1500: preliminary, unverified, and it says which model said it."""

from __future__ import annotations

import uuid

import highdicom as hd
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medvlp.serving.exports.codes import (
    CATEGORIES,
    NO_UNIT,
    PRESENCE,
    PROBABILITY,
    THRESHOLD,
    code_of,
    examination,
    side_of,
)
from medvlp.serving.exports.shown import BANNER, Finding, Shown, file_bytes, name_model

_CHEST = Code("51185008", "SCT", "Thorax")


def sr_bytes(shown: Shown) -> bytes:
    """Return a Comprehensive SR (PS3.3 A.35.3, PS3.16 TID 1500) of all findings that are shown.

    Raises:
        UserError: the source is no DICOM file, or no finding is shown.
    """
    header = shown.header()
    shown.need_findings()
    algorithm = sr.AlgorithmIdentification(
        name=shown.model[:64], version=shown.model_hash,
        parameters=[BANNER, f"preset={shown.preset}", f"operating point={shown.operating_point}"],
    )  # fmt: skip
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, shown.model_hash).int}", name=f"medvlp {shown.model}"[:64],
        manufacturer_name="medvlp", model_name=shown.model[:64], serial_number=shown.model_hash[:64],
    )  # fmt: skip
    observer = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=examination(str(header.get("Modality", ""))),
        imaging_measurements=[_group(each, algorithm) for each in shown.findings],
        title=codes.DCM.ImagingMeasurementReport,
    )
    for line in (BANNER, *shown.made_by):
        comment = sr.TextContentItem(codes.DCM.Comment, line, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        report[0].ContentSequence.append(comment)
    document = sr.ComprehensiveSR(
        evidence=[header], content=report[0], series_instance_uid=hd.UID(), series_number=9001,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="medvlp", is_complete=False, is_final=False,
        is_verified=False, series_description="medvlp, preliminary, research only",
    )  # fmt: skip
    name_model(document, shown)
    return file_bytes(document)


def _group(finding: Finding, algorithm: sr.AlgorithmIdentification) -> sr.MeasurementsAndQualitativeEvaluations:
    tracking = sr.TrackingIdentifier(uid=hd.UID(), identifier=finding.title[:64])
    side = side_of(finding)
    sites = [sr.FindingSite(anatomic_location=_CHEST, laterality=side)] if side is not None else None
    numbers = [(PROBABILITY, finding.probability), (THRESHOLD, finding.threshold)]
    measurements = [
        sr.Measurement(name=name, value=value, unit=NO_UNIT) for name, value in numbers if value is not None
    ]
    evaluations = [sr.QualitativeEvaluation(name=PRESENCE, value=CATEGORIES[finding.category])]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking, finding_type=code_of(finding), finding_sites=sites, algorithm_id=algorithm,
        measurements=measurements, qualitative_evaluations=evaluations,
    )  # fmt: skip
