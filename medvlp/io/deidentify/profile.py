"""What becomes of an attribute: PS3.15 Table E.1-1 (edition 2026c) as one CSV, and the profile's options.

A table names what to remove; whatever it does not name would be kept. So three rules go beyond it: private and unknown
attributes, curves and overlays are removed; names and free text that it does not list are replaced; dates are shifted.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.tag import BaseTag

Action = Literal["keep", "remove", "empty", "dummy", "uid", "date", "clean"]

#: Of these a value can be cleaned; of others, bytes above all, an option that cleans changes nothing.
CLEANED = ("LO", "SH", "LT", "ST", "UT", "UC", "AE", "CS")
_BASIC: dict[str, Action] = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid", "U*": "uid"}
_DATES: dict[str, Action] = {"shift": "date", "remove": "dummy", "retain": "keep"}
#: In names of attributes that the table lacks: days of birth and death in other calendars, retired numbers of orders.
_ALSO = ("InAlternativeCalendar", "OrderNumber")
_CURVES, _OVERLAYS = 0x5000, 0x6000  # repeating groups 50xx and 60xx
#: What a D would make meaningless: these are walked into instead, and every value in them has a rule of its own.
_WALKED = frozenset({"ContentSequence", "GraphicAnnotationSequence", "WaveformAnnotationSequence"})
_CODES = {
    "descriptors": ("113105", "Clean Descriptors Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}


@cache
def rules() -> dict[int, tuple[str, str]]:
    """Table E.1-1: tag -> (basic profile, letters of the options that change it).

    Letters: u UIDs, v device (V: cleaned), i institution, p patient's characteristics (P: cleaned), t dates and times,
    c descriptors, s structured content, g graphics.
    """
    with open(Path(__file__).with_name("table_e1_1.csv"), encoding="ascii", newline="") as handle:
        return {int(row["tag"], 16): (row["basic"], row["options"]) for row in csv.DictReader(handle)}


@dataclass(frozen=True)
class Profile:
    """The basic application level confidentiality profile with its options (PS3.15 E.2 and E.3).

    Attributes:
        dates: "shift" by a number of days of the patient's own, "remove", or "retain".
        uids: retain UIDs.
        patient: retain sex, age (90 and more become 90), size, weight and the like.
        device: retain what identifies the device.
        institution: retain the institution's name and address.
        descriptors: retain descriptions and comments, with identifiers cut out by rules; else they are removed.
        pixels: "mask" text that is burned in, "flag" files with such text and leave them out, or "keep" pixels unseen.

    Example:
        >>> Profile().action(BaseTag(0x00080020), "DA"), Profile(dates="remove").action(BaseTag(0x00080020), "DA")
        ('date', 'empty')
    """

    dates: Literal["shift", "remove", "retain"] = "shift"
    uids: bool = False
    patient: bool = False
    device: bool = False
    institution: bool = False
    descriptors: bool = False
    pixels: Literal["mask", "flag", "keep"] = "mask"

    def action(self, tag: BaseTag, vr: str) -> Action:
        """Return what becomes of an attribute; of a sequence, "keep" means that its items are walked."""
        if tag.is_private or tag.group & 0xFF00 in (_CURVES, _OVERLAYS) or not dictionary_has_tag(tag):
            return "remove"
        row = rules().get(int(tag))
        if row is None:
            return self._unlisted(keyword_for_tag(tag), dictionary_VR(tag))  # whatever VR a file writes
        basic, options = row
        if "t" in options and vr in ("DA", "DT", "TM") and self.dates != "remove":
            return "keep" if self.dates == "retain" or vr == "TM" else "date"
        retained = {"u": self.uids, "v": self.device, "i": self.institution, "p": self.patient}
        if any(retained.get(letter, False) for letter in options):
            return "keep"
        cleaned = {"c": self.descriptors, "V": self.device, "P": self.patient}
        if (vr == "SQ" or vr in CLEANED) and any(cleaned.get(letter, False) for letter in options):
            return "keep" if vr == "SQ" else "clean"
        if vr == "SQ" and (keyword_for_tag(tag) in _WALKED or basic.endswith("U*") or "u" in options):
            return "keep"
        # Of alternatives the last is chosen: it keeps the object valid whatever the attribute's type is there.
        return _BASIC[basic.split("/")[-1]]

    def _unlisted(self, keyword: str, vr: str) -> Action:
        if any(word in keyword for word in _ALSO):
            return "remove"
        if vr in ("DA", "DT"):
            return _DATES[self.dates]
        if vr == "UI" and not self.uids and not keyword.endswith(("ClassUID", "SyntaxUID")):
            return "uid"
        if vr in ("LT", "ST", "UT"):
            return "clean" if self.descriptors else "dummy"
        return "dummy" if vr in ("PN", "UR") else "keep"

    def codes(self, *, pixels_seen: bool) -> tuple[tuple[str, str], ...]:
        """Return code and meaning of all that was done (PS3.16 CID 7050); `pixels_seen`: searched for text."""
        codes = [("113100", "Basic Application Confidentiality Profile"), ("113103", "Clean Graphics Option")]
        if pixels_seen:
            codes.append(("113101", "Clean Pixel Data Option"))
        if self.dates == "shift":
            codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        if self.dates == "retain":
            codes.append(("113106", "Retain Longitudinal Temporal Information Full Dates Option"))
        codes += [code for name, code in _CODES.items() if getattr(self, name)]
        return tuple(sorted(codes))
