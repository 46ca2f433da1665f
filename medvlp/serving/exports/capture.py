"""The picture with its banner as a DICOM secondary capture in the patient's study."""

from __future__ import annotations

import highdicom as hd
import numpy as np

from medvlp.serving.exports.picture import render
from medvlp.serving.exports.shown import BANNER, Shown, file_bytes, name_model


def sc_bytes(shown: Shown) -> bytes:
    """Return a Secondary Capture Image (PS3.3 A.8.1), RGB, which holds what `render` draws.

    Raises:
        DataError: the source is no DICOM file.
    """
    header = shown.header()
    capture = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=header, pixel_array=np.ascontiguousarray(render(shown)), photometric_interpretation="RGB",
        bits_allocated=8, coordinate_system=hd.CoordinateSystemNames.PATIENT, series_instance_uid=hd.UID(),
        series_number=9003, sop_instance_uid=hd.UID(), instance_number=1, manufacturer="medvlp",
        patient_orientation=("L", "F"), transfer_syntax_uid="1.2.840.10008.1.2.1",
        series_description="medvlp capture, research only",
    )  # fmt: skip
    capture.ImageComments = BANNER
    name_model(capture, shown)
    capture.DerivationDescription = "; ".join(shown.made_by)[:1024]
    # A page of banner, picture and words has no side of its own: both are 2C, there and empty.
    capture.Laterality = ""
    capture.add_new("PatientOrientation", "CS", None)
    return file_bytes(capture)
