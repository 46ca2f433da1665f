"""What a reader has before the eyes, as plain data: all that an export may say, and nothing else."""

from __future__ import annotations

import io
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medvlp import __version__
from medvlp.core.errors import DataError, UserError
from medvlp.io.geometry import Hanging

BANNER = "RESEARCH ONLY - NOT FOR CLINICAL USE"

_ALWAYS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")  # type 1
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "AccessionNumber", "ReferringPhysicianName")  # fmt: skip

Category = Literal["present", "indeterminate", "absent", "uncalibrated", "not_for_this_picture"]


@dataclass(frozen=True)
class Finding:
    """What the model says of one finding.

    Attributes:
        name: key of the finding, such as ``"effusion"``, or a sentence that was asked.
        category: as it is shown.
        probability: calibrated; None where nothing was fitted.
        threshold: probability from which it is "present"; None where there is none.
        sentence: the number in words.
        side: "left", "right" or "".
    """

    name: str
    category: Category
    probability: float | None = None
    threshold: float | None = None
    sentence: str = ""
    side: Literal["left", "right", ""] = ""

    @property
    def title(self) -> str:
        """For people."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, eq=False)
class Layer:
    """A map or mask that lies on the picture.

    Attributes:
        finding: of what.
        values: ``(rows, columns)`` of the source: bool for a mask, float in [0, 1] for a heat map.
        method: how it was made.
    """

    finding: str
    values: np.ndarray
    method: str


@dataclass(frozen=True, eq=False)
class Shown:
    """An image with the model's findings, as shown on the page.

    Attributes:
        pixels: uint8 ``(rows, columns)`` of the source, ``(rows, columns, 3)`` of one with colours, as it is displayed
            (window, polarity), not hung.
        findings: all that are listed.
        model: name of the bundle.
        model_hash: sha256 of its weights, hex.
        preset: recipe from stored values to the model's input.
        operating_point: how thresholds were chosen.
        source: header of its DICOM file; None for a picture that is none.
        layer: drawn on the picture.
        refused: why the model was not asked, in a sentence; "" where it was.
        hanging: how pixels and layer are turned where a picture is made of them, as the page turns them.
        synthetic: whether the model was trained on synthetic patients, which pictures and reports say.
        aspect: height of a hung pixel over its width, by which a picture that is made of them is stretched.
        warnings: what the page shows beside the findings: of the file, of the model's training, of a missing gate.
    """

    pixels: np.ndarray
    findings: tuple[Finding, ...]
    model: str
    model_hash: str
    preset: str
    operating_point: str
    source: Dataset | None = None
    layer: Layer | None = None
    refused: str = ""
    hanging: Hanging = field(default_factory=Hanging)
    synthetic: bool = False
    aspect: float = 1.0
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.shape[2:] not in ((), (3,)) or self.pixels.ndim < 2 or self.pixels.dtype != np.uint8:
            raise UserError(
                f"The picture has shape {self.pixels.shape} of {self.pixels.dtype}: give uint8 (rows, columns)."
            )
        if self.layer is not None and self.layer.values.shape != self.pixels.shape[:2]:
            raise UserError(
                f"The layer has shape {self.layer.values.shape}, not {self.pixels.shape[:2]}: place it in the source."
            )

    @property
    def made_by(self) -> tuple[str, ...]:
        """Return the provenance of the findings and what to mind of them, one line each."""
        trained = ", trained on synthetic patients" if self.synthetic else ""
        lines = (f"model {self.model} {self.model_hash[:16]}{trained}", f"preset {self.preset}")
        refused = [self.refused] if self.refused else []
        return (*lines, f"operating point {self.operating_point}", *refused, *self.warnings)

    def need_findings(self) -> None:
        """Raise UserError where no finding is shown."""
        if not self.findings:
            raise UserError("No finding is shown, so there is nothing to report: let the model read the picture first.")

    def header(self) -> Dataset:
        """Return a copy of the source's header, without pixels; what may be empty and is absent is there and empty.

        Text in several character sets is in UTF-8.

        Raises:
            DataError: the source is no DICOM file, lacks what none may lack, or has not the picture's rows and columns.
        """
        if self.source is None:
            raise DataError(
                "The picture comes from no DICOM file, so no DICOM object can refer to it: export PNG or FHIR."
            )
        header = deepcopy(self.source)
        if isinstance(header.get("SpecificCharacterSet"), MultiValue):  # its first may be empty: highdicom refuses that
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"
        missing = [keyword for keyword in _ALWAYS if not header.get(keyword)]
        if missing:
            raise DataError(f"The picture's DICOM file has no {missing[0]}, so nothing can refer to it: export PNG.")
        if (header.get("Rows"), header.get("Columns")) != self.pixels.shape[:2]:
            raise DataError("The picture and its DICOM file differ in rows or columns: give pixels of the source.")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
        return header


def name_model(made: Dataset, shown: Shown) -> None:
    """Say in a DICOM object which model it is by."""
    made.ManufacturerModelName, made.SoftwareVersions = shown.model[:64], __version__
    made.DeviceSerialNumber = shown.model_hash[:64]


def file_bytes(made: Dataset) -> bytes:
    """Return a DICOM object as a file."""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
