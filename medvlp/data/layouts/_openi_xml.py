"""One report of the Open-i collection: its XML, read without trust, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from medvlp.core.errors import DataError

__all__ = ["Report", "read_report"]

_MOST_BYTES = 1 << 20  # the longest of the release has 20 kB


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


def read_report(path: Path) -> Report | None:
    """Read a file, or return None where it is no report.

    The bytes are decoded here, not by the parser, which would believe what encoding the file names: a declaration of
    entities could hide in another. No report has one, so a file that has is refused before it is parsed (entities can
    grow without bound, and name files of this machine).

    Raises:
        DataError: for a file with a document type or entities.
    """
    try:
        with open(path, "rb") as handle:
            data = handle.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{path} declares a document type or entities, which no Open-i report does and which can be an attack: "
            "remove the file and download the collection again."
        )
    if len(data) > _MOST_BYTES:
        return None
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
