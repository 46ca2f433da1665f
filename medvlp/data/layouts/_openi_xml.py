"""One report of the Open-i collection: its XML, read without trust, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from medvlp.core.errors import DataError

__all__ = ["MOST_BYTES", "Report", "read_report"]

MOST_BYTES = 1 << 20  # the longest of the release has 20 kB


@dataclass(frozen=True)
class Report:
    """What a file says.

    Attributes:
        uid: its number, ``CXR12``.
        sections: lower-case name -> words; those without words are left out.
        major: MeSH terms with their qualifiers, given by hand (``Opacity/lung/base/left``).
        images: ids of its pictures.
    """

    uid: str
    sections: dict[str, str]
    major: tuple[str, ...]
    images: tuple[str, ...]


def read_report(data: bytes, *, source: str) -> Report | None:
    """Read a document, or return None where it is no report.

    The bytes are decoded here, not by the parser, which would believe what encoding the file names: a declaration of
    entities could hide in another. No report has one, so a file that has is refused before it is parsed (entities can
    grow without bound, and name files of this machine).

    Args:
        data: the file's bytes; more than a megabyte is no report.
        source: what error sentences call it.

    Raises:
        DataError: for a document type or entities.

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
