"""Codes of findings, categories and examinations: from DICOM's own dictionary, else of this project's scheme."""

from __future__ import annotations

import hashlib
import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medvlp.serving.exports.shown import Finding
from medvlp.text.ontology import findings

_SCHEME = "99MEDVLP"
PRESENCE = Code("705057003", "SCT", "Presence")
PROBABILITY = Code("probability", _SCHEME, "Calibrated probability")
THRESHOLD = Code("threshold", _SCHEME, "Probability from which it is called present")
NO_UNIT = Code("1", "UCUM", "no units")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
CATEGORIES: dict[str, Code] = {
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("2667000", "SCT", "Absent"),
    "indeterminate": Code("82334004", "SCT", "Indeterminate"),
    "uncalibrated": Code("uncalibrated", _SCHEME, "Not calibrated"),
    "not_for_this_picture": Code("not_for_this", _SCHEME, "Not for this picture"),
}
_EXAMINATIONS = {
    "CR": Code("363680008", "SCT", "Radiographic imaging"),
    "DX": Code("363680008", "SCT", "Radiographic imaging"),
    "CT": Code("77477000", "SCT", "Computed tomography"),
    "MR": Code("113091000", "SCT", "Magnetic resonance imaging"),
}


def code_of(finding: Finding) -> Code:
    """Return the finding's code, of this project's scheme where DICOM's dictionary has none.

    Example:
        >>> [code_of(Finding(name, "present")).scheme_designator for name in ("effusion", "rib_fracture")]
        ['SCT', '99MEDVLP']
    """
    known = findings().get(finding.name)
    if known is None or known.code is None:
        plain = re.fullmatch(r"[a-z0-9_]{1,16}", finding.name)
        value = finding.name if plain else "x" + hashlib.sha256(finding.name.encode()).hexdigest()[:15]
        return Code(value, _SCHEME, finding.title[:64])
    scheme, keyword = known.code
    return getattr(getattr(codes, scheme), keyword)


def examination(modality: str) -> Code:
    """Return what was done to the patient."""
    return _EXAMINATIONS.get(modality, Code("363679005", "SCT", "Imaging"))


def side_of(finding: Finding) -> Code | None:
    """Return the code of the finding's side."""
    sides = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
    return sides.get(finding.side)
