"""DICOM and NIfTI files without what identifies a patient: PS3.15 Annex E, its options, and text in the pixels."""
