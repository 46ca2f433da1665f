"""DICOM and NIfTI files without what identifies a patient: PS3.15 Annex E, its options, and text in the pixels."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Profile": "profile",
        "Secret": "secret",
        "deidentify_dataset": "dataset",
        "deidentify_dicom": "dicom",
        "deidentify_nifti": "nifti",
        "find_text": "burned_in",
    },
)
