"""What is shown, written for others: DICOM SR, SEG and secondary capture, FHIR, PNG; and sent by DICOMweb."""
