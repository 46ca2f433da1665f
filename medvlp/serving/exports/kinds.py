"""One function for every kind of export."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from medvlp.core.errors import DataError, UserError
from medvlp.serving.exports.shown import Shown

#: kind -> (name of the file without its chance part, media type)
KINDS = {
    "sr": ("report.dcm", "application/dicom"),
    "seg": ("map.dcm", "application/dicom"),
    "sc": ("capture.dcm", "application/dicom"),
    "png": ("picture.png", "image/png"),
    "fhir": ("report.json", "application/fhir+json"),
}


class Exported(NamedTuple):
    """A file to give to the reader; its name tells nothing of the patient."""

    data: bytes
    filename: str
    media_type: str


def export(shown: Shown, kind: str) -> Exported:
    """Write what is shown.

    Args:
        shown: picture, findings, layer, model.
        kind: "sr", "seg", "sc", "png" or "fhir".

    Raises:
        UserError: there is no such kind, nothing to write, or the source does not allow it.

    Example:
        >>> import numpy as np
        >>> shown = Shown(np.zeros((64, 64), np.uint8), (), "quickstart", "0" * 64, "dicom_voi_v1", "youden")
        >>> export(shown, "png").media_type, export(shown, "sr")
        Traceback (most recent call last):
        medvlp.core.errors.DataError: The picture comes from no DICOM file, ...
    """
    if kind not in KINDS:
        raise UserError(f"There is no export {kind!r}: choose {', '.join(KINDS)}.")
    name, media_type = KINDS[kind]
    stem, suffix = name.split(".")
    return Exported(_write(shown, kind), f"medvlp-{stem}-{secrets.token_hex(4)}.{suffix}", media_type)


def _write(shown: Shown, kind: str) -> bytes:
    if kind == "png":
        from medvlp.serving.exports.picture import png_bytes

        return png_bytes(shown)
    if kind == "fhir":
        from medvlp.serving.exports.fhir import fhir_bytes

        return fhir_bytes(shown)
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise UserError(
            "DICOM objects are written by highdicom, which is not installed: pip install 'openmedvlp[pacs]'."
        ) from None
    try:
        return _dicom(shown, kind)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # highdicom, of a header against the standard
        raise DataError(
            f"The picture's DICOM header does not allow it ({type(error).__name__}): export PNG or FHIR."
        ) from error


def _dicom(shown: Shown, kind: str) -> bytes:
    if kind == "sr":
        from medvlp.serving.exports.sr import sr_bytes

        return sr_bytes(shown)
    if kind == "seg":
        from medvlp.serving.exports.seg import seg_bytes

        return seg_bytes(shown)
    from medvlp.serving.exports.capture import capture_bytes

    return capture_bytes(shown)
