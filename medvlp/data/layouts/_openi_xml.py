"""One report of the Open-i collection: its XML, read without trust, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from medvlp.core.errors import DataError

MOST_BYTES = 1 << 20  # the longest of the release has 20 kB


@dataclass(frozen=True)
class Report:
    """A file's number (``CXR12``), its sections by lower-case name, its MeSH terms, given by hand, and image ids."""

    uid: str
    sections: dict[str, str]
    major: tuple[str, ...]
    images: tuple[str, ...]


def read_report(data: bytes, *, source: str) -> Report | None:
    """Read a document, or return None where it is no report.

    The bytes are decoded here: a parser would believe what encoding the file names, and a declaration of entities could
    hide in another. No report has one, so a file that has is refused before it is parsed (entities can grow without
    bound, and name files of this machine). More than a megabyte is no report; `source` is its name in errors.

    Example:
        >>> read_report(b"<eCitation><uId id='CXR7'/><parentImage id='a'/></eCitation>", source="7.xml")
        Report(uid='CXR7', sections={}, major=(), images=('a',))
    """
    if len(data) > MOST_BYTES:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{source} declares a document type or entities, which no Open-i report does and which can be an attack: "
            "remove the file and download the collection again."
        )
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    uid = root.find("uId")
    if root.tag != "eCitation" or uid is None or not uid.get("id"):
        return None
    sections: dict[str, str] = {}
    for part in root.iter("AbstractText"):
        name, words = str(part.get("Label") or "other").lower(), " ".join("".join(part.itertext()).split())
        if words:
            sections[name] = f"{sections[name]} {words}" if name in sections else words
    return Report(
        uid=str(uid.get("id")),
        sections=sections,
        major=tuple(term.text.strip() for term in root.iterfind("MeSH/major") if term.text and term.text.strip()),
        images=tuple(image.get("id", "") for image in root.iter("parentImage") if image.get("id")),
    )
