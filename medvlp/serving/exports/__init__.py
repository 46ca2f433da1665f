"""What is shown, written for others: DICOM SR, SEG and secondary capture, FHIR, PNG; and sent by DICOMweb."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BANNER": "shown",
        "Exported": "kinds",
        "Finding": "shown",
        "KINDS": "kinds",
        "Layer": "shown",
        "Pacs": "pacs",
        "Shown": "shown",
        "export": "kinds",
    },
)
