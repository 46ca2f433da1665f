"""One function for every kind of export."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from medvlp.core.errors import DataError, UserError
from medvlp.io.dicom_file import quiet
from medvlp.serving.exports.shown import Shown

#: kind -> (name of the file without its random part, media type, module with a function ``KIND_bytes``)
KINDS = {
    "sr": ("report.dcm", "application/dicom", "sr"),
    "seg": ("map.dcm", "application/dicom", "seg"),
    "sc": ("capture.dcm", "application/dicom", "capture"),
    "png": ("picture.png", "image/png", "picture"),
    "fhir": ("report.json", "application/fhir+json", "fhir"),
}


class Exported(NamedTuple):
    """A file to give to the reader; its name tells nothing of the patient."""

    data: bytes
    filename: str
    media_type: str


@quiet()
def export(shown: Shown, kind: str) -> Exported:
    """Export the shown findings in one of the supported formats.

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
    name, media_type, module = KINDS[kind]
    stem, suffix = name.split(".")
    filename = f"medvlp-{stem}-{secrets.token_hex(4)}.{suffix}"
    if suffix != "dcm":
        return Exported(_writer(module, kind)(shown), filename, media_type)
    if find_spec("highdicom") is None:
        raise UserError(
            "DICOM objects are written by highdicom, which is not installed: pip install 'openmedvlp[pacs]'."
        )
    try:
        return Exported(_writer(module, kind)(shown), filename, media_type)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # highdicom, of a header against the standard
        raise DataError(
            f"The picture's DICOM header does not allow it ({type(error).__name__}): export PNG or FHIR."
        ) from error


def _writer(module: str, kind: str) -> Callable[[Shown], bytes]:
    return getattr(import_module(f"medvlp.serving.exports.{module}"), f"{kind}_bytes")
