"""A DICOM data set without identifiers: every attribute, in every sequence, by its rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.values import convert_value

from medvlp.io.deidentify.known import KnownWords
from medvlp.io.deidentify.profile import CLEANED, Action, Profile, rules
from medvlp.io.deidentify.secret import Secret, is_uid
from medvlp.io.errors import UnreadableImage

_TEXT = ("LO", "SH", "LT", "ST", "UT", "UC")
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_PREFIX = {0x00100020: "p", 0x00100010: "p", 0x00080050: "a"}  # of Patient ID, Patient's Name and Accession Number
_AGE = 0x00101010
_DUMMY: dict[str, object] = {
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "DS": "0", "IS": "0", "UR": "about:blank",
    "CS": "REMOVED", "OB": b"\0\0", "OW": b"\0\0", "UN": b"\0\0", "US": 0, "UL": 0, "SS": 0, "SL": 0,
    "FL": 0.0, "FD": 0.0,
}  # fmt: skip
#: Forms of values (PS3.5 6.2), with words and ages that scanners write against it ("Chest", "C-SPINE", "42").
_FORMS = {
    "CS": "[A-Z0-9 _/-]*|[A-Za-z0-9_/-]+", "AS": "([0-9]{1,3}[DWMY]|[1-8]?[0-9])?", "DS": "[0-9.,eE+ -]*",
    "IS": "[0-9.,eE+ -]*", "DA": "[0-9.-]*", "DT": "[0-9.:+ -]*", "TM": "[0-9.: ]*",
}  # fmt: skip
_DEEPEST = 64  # sequences within sequences, of which reports have a dozen
_METHOD = "medvlp: PS3.15 Annex E, edition 2026c"


@dataclass
class _File:
    """What is known of the file while it is walked."""

    profile: Profile
    secret: Secret
    clean: Callable[[str, KnownWords], str]
    patient: str
    known: KnownWords = field(default_factory=KnownWords)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)


def deidentify_dataset(
    dataset: Dataset, *, profile: Profile, secret: Secret, clean: Callable[[str, KnownWords], str],
    pixels_seen: bool = False,
) -> Counter[tuple[str, str]]:  # fmt: skip
    """Remove what identifies, in place; pixel values are left to `medvlp.io.deidentify.pixels`.

    Args:
        dataset: a whole data set, read by `read_values`; its file meta information is not looked at.
        profile: options.
        secret: key of pseudonyms, UIDs and shifts.
        clean: makes free text that stays free of identifiers, given the words that are known.
        pixels_seen: whether its pixels were searched for text, which is then written into it.

    Returns:
        how often each (attribute, action) was done, without values; "keep" is not counted.

    Example:
        >>> dataset = Dataset()
        >>> dataset.PatientName, dataset.PatientID, dataset.StudyDescription = "Doe^Jane", "4711", "Chest of Doe"
        >>> done = deidentify_dataset(
        ...     dataset, profile=Profile(), secret=Secret(b"k" * 32), clean=lambda text, known: known.scrub(text)
        ... )
        >>> str(dataset.PatientName) == dataset.PatientID, "StudyDescription" in dataset, dataset.PatientIdentityRemoved
        (True, False, 'YES')
    """
    patient = str(dataset.get("PatientID") or dataset.get("PatientName") or dataset.get("StudyInstanceUID") or "")
    file = _File(profile, secret, clean, patient)
    _learn(dataset, file)
    name = dataset.get("PatientID") or dataset.get("PatientName")
    _walk(dataset, file)
    if "PatientName" in dataset:
        dataset.PatientName = secret.name(str(name or ""), prefix="p")
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.DeidentificationMethodCodeSequence = [_code(*code) for code in profile.codes(pixels_seen=pixels_seen)]
    changed = {"shift": "MODIFIED", "remove": "REMOVED", "retain": "UNMODIFIED"}
    dataset.LongitudinalTemporalInformationModified = changed[profile.dates]
    return file.done


def read_values(dataset: Dataset, depth: int = 0) -> None:
    """Read every value, a long one of VR UN by that of its attribute, implicit (PS3.5 6.2.2), or refuse the file."""
    if depth > _DEEPEST:
        raise UnreadableImage("bad_header", detail=f"its sequences are nested more than {_DEEPEST} deep")
    for tag in list(dataset.keys()):  # pydicom's walk says an error's words twice at each level: 2^n times at n levels
        raw = dataset.get_item(tag)
        if isinstance(raw, RawDataElement) and len(raw.value or b"") < raw.length < 0xFFFFFFFF:
            raise UnreadableImage("truncated", detail="it ends inside an element")  # pydicom takes what is there
        element = dataset[tag]
        if element.VR == "UN" and dictionary_has_tag(tag) and len(element.value or b"") >= 0xFFFF:
            vr, value = dictionary_VR(tag), element.value
            raw = RawDataElement(tag, vr, len(value), value, 0, True, True)
            element.VR, element.value = vr, convert_value(vr, raw, dataset.original_character_set)
        for item in element.value or () if element.VR == "SQ" else ():
            read_values(item, depth + 1)


def _learn(dataset: Dataset, file: _File) -> None:
    """Remember the names and short texts that identify, wherever they stand."""
    for element in dataset.iterall():
        row, values = rules().get(int(element.tag)), map(str, _values(element))
        if element.VR == "PN":
            file.known.add_name(*values)
        elif (
            element.VR in ("LO", "SH") and row is not None and not set(row[1]) & set("cpt")
            and file.profile.action(element.tag, element.VR) in ("remove", "empty", "dummy")
        ):  # fmt: skip
            file.known.add(*values)


def _walk(dataset: Dataset, file: _File, *, forced: bool = False) -> None:
    scheme = str(dataset.get("CodingSchemeDesignator", "")).upper()
    coded = "CodeMeaning" in dataset and scheme != "L" and not scheme.startswith("99")  # not a code of the site's own
    for tag in list(dataset.keys()):
        element = dataset[tag]
        if int(tag) in _PIXELS:
            continue
        action: Action = file.profile.action(tag, element.VR)
        if forced and action in ("keep", "clean"):
            action = "dummy"
        if element.VR == "SQ":
            _sequence(dataset, element, action, file)
        else:
            _element(dataset, element, action, file, coded=coded)


def _sequence(dataset: Dataset, element: DataElement, action: Action, file: _File) -> None:
    if action == "remove":
        del dataset[element.tag]
    elif action == "empty":
        element.value = []
    elif action == "dummy":
        element.value = element.value[:1]
    if action in ("remove", "empty", "dummy"):
        file.done[_name(element.tag), action] += 1
    if element.tag in dataset:
        for item in element.value:
            _walk(item, file, forced=action == "dummy")


def _element(dataset: Dataset, element: DataElement, action: Action, file: _File, *, coded: bool) -> None:
    tag, vr = element.tag, element.VR
    before = element.value
    if action == "clean" and vr not in CLEANED:  # bytes that are none
        action = "remove"
    if action == "remove":
        del dataset[tag]
    elif int(tag) in _PREFIX and action in ("empty", "dummy"):
        element.value, action = file.secret.name(str(before or ""), prefix=_PREFIX[int(tag)]), "dummy"
    elif action == "empty":
        element.clear()
    elif action == "dummy":
        element.value = file.secret.uid(str(before)) if vr == "UI" else _DUMMY.get(vr, "REMOVED")
    elif action == "uid":
        _replace(element, lambda value: file.secret.uid(str(value)))
    elif action == "date":
        _replace(element, lambda value: file.secret.date(str(value), file.patient))
    elif action == "clean":
        _replace(element, lambda value: _cut(file.clean(str(value), file.known), vr))
    elif forbidden := _forbidden(element):
        element.VR, action = dictionary_VR(tag), "empty"
        _replace(element, lambda value: "" if str(value) in forbidden else str(value))
    elif vr in _TEXT and not coded:  # kept, but not with a name in it
        _replace(element, lambda value: _cut(file.known.scrub(str(value)), vr))
        action = "clean" if element.value != before else "keep"
    elif int(tag) == _AGE and str(before).endswith("Y") and str(before)[:-1].isdecimal() and int(str(before)[:-1]) > 90:
        element.value, action = "090Y", "clean"
    elif vr == "PN":
        element.value, action = "REMOVED", "dummy"
    elif vr == "UI" and not all(is_uid(str(value)) for value in _values(element) if value):
        _replace(element, lambda value: str(value) if is_uid(str(value)) else file.secret.uid(str(value)))
        action = "uid"
    else:
        action = "keep"
    if action != "keep":
        file.done[_name(tag), action] += 1


def _replace(element: DataElement, by: Callable[[object], str]) -> None:
    if element.is_empty:
        return
    values = [by(value) for value in _values(element)]
    element.value = values if len(values) > 1 else values[0]


def _values(element: DataElement) -> list[object]:
    value = element.value
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list) else [value]


def _forbidden(element: DataElement) -> set[str]:
    """The values that the VR of the attribute forbids: they may be names."""
    form = _FORMS.get(dictionary_VR(element.tag))
    return {value for value in map(str, _values(element)) if form and not re.fullmatch(form, value)}


def _cut(text: str, vr: str) -> str:
    return text[: {"SH": 16, "AE": 16, "CS": 16, "LO": 64}.get(vr)]


def _name(tag: BaseTag) -> str:
    if tag.is_private:
        return "private"
    repeating = {0x5000: "curve", 0x6000: "overlay"}.get(tag.group & 0xFF00)
    return repeating or keyword_for_tag(tag) or f"({tag.group:04X},{tag.element:04X})"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
