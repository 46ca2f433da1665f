"""``openi``: chest X-rays and reports of Indiana University (Demner-Fushman et al. 2016), as Open-i gives them.

Reports are XML, in a folder or still in ``NLMCXR_reports.tgz``; pictures are PNG or DICOM named by the report's
``parentImage``. A report has up to five pictures, or none; some reports are empty. The collection has no patient id and
is described as one study a patient: a report stands for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, notify
from medvlp.data.text_table import read_table

_ARCHIVE = "NLMCXR_reports.tgz"
_SUFFIXES = (".dcm", ".png", ".jpg")
_IMAGE = re.compile(r"(?:CXR)?(\d+)_(?:\1_)?(IM-.+)", re.IGNORECASE)
_SECTIONS = ("findings", "impression", "comparison", "indication")
_VIEWS = {"L": "LATERAL"}
MOST_BYTES = 1 << 20  # the longest of the release has 20 kB


def index(
    root: Root,
    *,
    reports: str | None = None,
    images: str = ".",
    rows: Literal["image", "report"] = "image",
    sections: tuple[str, ...] = ("findings", "impression"),
    labels: Literal["none", "gold", "mesh"] = "none",
    gold: Path | None = None,
    views: Path | None = None,
    require_files: bool = True,
    progress: OnProgress = None,
) -> Manifest:
    """Index the reports, one row an image or one row a report.

    Columns: ``id`` (image id, or ``CXR12``), ``image``, ``text`` (the chosen sections under their titles),
    ``text.findings``, ``text.impression``, ``text.comparison``, ``text.indication``, ``id.patient`` and ``id.study``
    (both the report), with `labels` ``label.FINDING``, with `views` ``view_position``. The manifest's meta lists
    ``reports_without_image``, ``empty_reports`` and ``images_without_report``.

    Args:
        root: folder of all.
        reports: archive or folder of the XML files, below root (default: ``NLMCXR_reports.tgz``, else all of root).
        images: folder in which the pictures are looked for, below root, at any depth; of one in several forms DICOM.
        rows: ``report`` makes one row of each report with words, without images.
        sections: of ``findings``, ``impression``, ``comparison``, ``indication``: what ``text`` holds.
        labels: ``gold`` are those of `gold`; ``mesh`` those that people coded from the report (1 coded, 0 not coded,
            missing where nobody coded it).
        gold: table of labels by report (``filename`` is the report's id), as NegBio's ``openi_gld_std14.csv``; below
            root or elsewhere. Alone it implies ``labels="gold"``.
        views: table of view positions by ``imageid``, in a column ``view``, ``View Position`` or ``tsne-view``.
        require_files: leave out, and list, images whose file is not there.

    Raises:
        DataError: if there is no report, one declares entities, or no image exists.
        UnreadableImage: for an archive that should not be unpacked.
        ConfigError: for a section that there is not, or gold labels without their table.
    """
    unknown = sorted(set(sections) - set(_SECTIONS))
    if unknown:
        raise ConfigError(f"sections names {unknown[0]!r}, Open-i has {', '.join(_SECTIONS)}: change it.")
    source = "gold" if gold is not None and labels == "none" else labels
    if (source == "gold") != (gold is not None):
        raise ConfigError("labels is 'gold' and gold names no table, or the other way round: give both or neither.")
    skipped: dict[str, list[str]] = {}
    found = _reports(root, reports, skipped, progress)
    labels_of = _labels(source, root / gold if gold is not None else None)
    empty = [report.uid for report in found if not report.sections]
    meta: dict[str, object] = {"labels": source, "empty_reports": empty}
    if rows == "report":
        for uid in empty:
            skip(skipped, "empty_report", uid)
        made = [{"id": report.uid, **_row(report, sections, labels_of)} for report in found if report.sections]
        return manifest_of(made, root=root, layout="openi", files=None, skipped=skipped, meta=meta)
    files = list_files(root, [images], suffixes=_SUFFIXES)
    images_of = _images(files, skipped)
    view_of = _views(root / views) if views is not None else {}
    made = []
    for report in found:
        shared = _row(report, sections, labels_of)
        for image in report.images:
            row: Row = {"id": image, "image": images_of.pop(_key(image), f"{images}/{image}.png".removeprefix("./"))}
            made.append(row | shared | ({"view_position": view_of.get(image)} if views else {}))
    meta |= {
        "reports_without_image": [report.uid for report in found if not report.images],
        "images_without_report": sorted(images_of.values()),
    }
    there = files if require_files else None
    return manifest_of(made, root=root, layout="openi", files=there, skipped=skipped, meta=meta)


def _row(report: Report, sections: tuple[str, ...], labels_of: Callable[[Report], Row]) -> Row:
    return {
        "id.patient": report.uid,
        "id.study": report.uid,
        "text": "\n\n".join(f"{name.upper()}: {report.sections[name]}" for name in sections if name in report.sections),
        **{f"text.{name}": report.sections.get(name) for name in _SECTIONS},
        **labels_of(report),
    }


def _reports(root: Path, named: str | None, skipped: dict[str, list[str]], progress: Progress | None) -> list[Report]:
    place = root / named if named is not None else root / _ARCHIVE if (root / _ARCHIVE).is_file() else root
    found: dict[str, Report] = {}
    for done, total, name, data in _archived(place) if place.is_file() else _unpacked(place):
        report = read_report(data, source=f"{place}, {name},")
        if report is None:
            skip(skipped, "no_report", name)
        elif report.uid in found:
            skip(skipped, "repeated", name)
        else:
            found[report.uid] = report
        notify(progress, done, total)
    if not found:
        raise DataError(
            f"{place} holds no Open-i report (XML with eCitation/uId): give the folder of {_ARCHIVE} as root, or set "
            "reports."
        )
    return sorted(found.values(), key=lambda report: _natural(report.uid))


def _archived(path: Path) -> Iterator[tuple[int, int, str, bytes]]:
    """The XML files of an archive (how many so far, of how many, name, bytes), checked before any is read."""
    from medvlp.io.archive import Budget, opened

    with opened(path) as members:
        wanted = [(member.name, opener) for member, opener in members if member.name.lower().endswith(".xml")]
        budget = Budget(path.stat().st_size)
        for done, (name, opener) in enumerate(wanted, 1):
            with opener() as source:
                data = source.read(MOST_BYTES + 1)
            budget.claim(len(data))
            yield done, len(wanted), name, data


def _unpacked(folder: Path) -> Iterator[tuple[int, int, str, bytes]]:
    paths = list_files(folder, suffixes=(".xml",))
    for done, path in enumerate(paths, 1):
        with open(folder / path, "rb") as source:
            yield done, len(paths), path, source.read(MOST_BYTES + 1)


def _natural(uid: str) -> tuple[int, str]:
    number = uid.upper().removeprefix("CXR")
    return (int(number) if number.isascii() and number.isdigit() else -1, uid)


def _key(name: str) -> str:
    """One name for a picture's forms: CXR1_1_IM-0001-3001 (XML, PNG) and 1_IM-0001-3001 (DICOM).

    Example:
        >>> _key("CXR1_1_IM-0001-3001"), _key("1_IM-0001-3001")
        ('1_IM-0001-3001', '1_IM-0001-3001')
    """
    found = _IMAGE.fullmatch(name)
    return f"{found[1]}_{found[2]}".upper() if found else name


def _images(files: Sequence[str], skipped: dict[str, list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (not path.lower().endswith(".dcm"), path)):
        key = _key(path.rpartition("/")[2].rpartition(".")[0])
        if key in found:
            skip(skipped, "other_form", path)
        else:
            found[key] = path
    return found


def _views(path: Path) -> dict[str, str]:
    table = read_table(path)
    column = next((name for name in ("view", "View Position", "tsne-view") if name in table.names), "view")
    values = (_VIEWS.get(value, value) for value in table.column(column))
    return dict(zip(table.column("imageid"), values, strict=True))


def _labels(source: str, gold: Path | None) -> Callable[[Report], Row]:
    """Return what gives a report its labels: the gold table, or the terms that people coded; a narrower term counts."""
    card = load_card("openi")
    if source == "mesh":
        terms = card.vocabularies["mesh"]

        def coded(report: Report) -> Row:
            if not report.major or "No Indexing" in report.major:
                return {f"label.{finding}": None for finding in terms}
            given = {"/".join(term.split("/")[: n + 1]) for term in report.major for n in range(term.count("/") + 1)}
            return {f"label.{finding}": int(not given.isdisjoint(words)) for finding, words in terms.items()}

        return coded
    if gold is None:
        return lambda report: {}
    table = read_table(gold)
    columns = {f"label.{finding}": table.column(word) for finding, word in card.labels.items()}
    places = {uid: place for place, uid in enumerate(table.column("filename"))}

    def labelled(report: Report) -> Row:
        place = places.get(report.uid)
        return {name: None if place is None else values[place] for name, values in columns.items()}

    return labelled


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
