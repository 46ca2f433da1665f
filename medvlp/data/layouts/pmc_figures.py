"""``pmc_figures``: figures and captions of PubMed Central's open-access articles (as BiomedCLIP, Zhang et al. 2023)."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import OnProgress, Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import notify

__all__ = ["index"]

_MOST_BYTES = 64 << 20  # of an article
_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gif")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[\]>]*>")
_APART = frozenset(("break", "disp-formula", "label", "list-item", "p", "title"))  # words at their edges are two words
_HREF = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Figure:
    """A figure of an article: its id and label, its caption in one line, and names of its graphics without ending."""

    id: str
    label: str
    caption: str
    graphics: tuple[str, ...]


@dataclass(frozen=True)
class Article:
    """PubMed and PubMed Central ids (empty where not given), and the figures."""

    pmid: str
    pmc: str
    figures: tuple[Figure, ...]


def index(root: Root, *, require_files: bool = True, progress: OnProgress = None) -> Manifest:
    """Index the graphics of all figures with a caption, one row a graphic; of one in several forms the first.

    Articles are the unpacked packages of the open-access subset: an ``.nxml`` with its graphics beside it, at any
    depth. Columns: ``id`` (``PMID_FIGURE``, with ``_2`` and so on for further graphics of a figure, and for another
    figure of its id, as in another version of the article), ``image``, ``text`` (the caption, or that of the group of
    figures), ``figure`` (its label, such as "Figure 2"), ``id.article`` (``PMC...``, else the PubMed id).
    Nobody knows which patients are shown: split by article (``data.patient: id.article``).

    Args:
        root: folder of all.
        require_files: leave out, and list, graphics whose file is not there.

    Raises:
        DataError: if there is no article.
    """
    files = list_files(root, suffixes=(".nxml", *_IMAGES))
    papers = [path for path in files if path.endswith(".nxml")]
    if not papers:
        raise DataError(f"{root} holds no .nxml: unpack the packages of the open-access subset there.")
    stems: dict[str, str] = {}
    for path in sorted(files, key=lambda path: -_rank(path)):  # the first of `_IMAGES` where a stem has several
        stems[posixpath.splitext(path)[0]] = path
        stems[path] = path
    skipped: dict[str, list[str]] = {}
    rows, used = list[Row](), set[str]()
    for done, path in enumerate(papers, start=1):
        article = _read(root / path, path, skipped)
        rows += [] if article is None else _rows(article, path, stems, skipped, used)
        notify(progress, done, len(papers))
    there = frozenset(files) if require_files else None
    return manifest_of(rows, root=root, layout="pmc_figures", files=there, skipped=skipped)


def read_article(data: bytes, *, source: str) -> Article:
    """Read the figures of an article in JATS XML.

    The document type that every article names is not fetched; one that brings declarations of its own is refused, since
    entities can grow without bound and name files of this machine. `source` is its name in errors.

    Example:
        >>> found = read_article(
        ...     b'<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>'
        ...     b'<article-id pub-id-type="pmid">7</article-id></article-meta></front><body><fig id="F1"><caption>'
        ...     b'<p>A <i>left</i> effusion.</p></caption><graphic xlink:href="a-g001"/></fig></body></article>',
        ...     source="a.nxml")
        >>> found.pmid, found.figures[0].caption, found.figures[0].graphics
        ('7', 'A left effusion.', ('a-g001',))
    """
    try:
        text = _DOCTYPE.sub("", data.decode("utf-8-sig"), count=1)
    except UnicodeDecodeError:
        raise DataError(f"{source} is not UTF-8: download the article again.") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{source} declares entities, which no article does and which can be an attack: remove the file."
        )
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{source} is no XML ({error}): download the article again.") from None
    for each in list(tree.iter("alternatives")):  # one thing in several forms: LaTeX beside MathML, tif beside jpg
        each[:] = [next((form for form in each if form.tag != "tex-math"), each[0])] if len(each) else []
    for each in tree.iter():
        if each.tag in _APART:
            each.text, each.tail = f" {each.text or ''}", f" {each.tail or ''}"
    meta = tree.find("front/article-meta")
    ids = (
        {} if meta is None else {each.get("pub-id-type"): (each.text or "").strip() for each in meta.iter("article-id")}
    )
    groups = {fig: group for group in tree.iter("fig-group") for fig in group.iter("fig")}
    pmc = ids.get("pmc") or ids.get("pmcid") or ""
    return Article(
        pmid=ids.get("pmid", ""),
        pmc=f"PMC{pmc.removeprefix('PMC')}" if pmc else "",
        figures=tuple(_figure(each, place, groups.get(each)) for place, each in enumerate(tree.iter("fig"), start=1)),
    )


def _figure(node: ElementTree.Element, place: int, group: ElementTree.Element | None) -> Figure:
    caption, label = node.find("caption"), node.find("label")
    if caption is None and group is not None:
        caption = group.find("caption")
    parts = [] if caption is None else [" ".join("".join(part.itertext()).split()) for part in caption]
    words = "" if label is None else " ".join("".join(label.itertext()).split())
    formulas = set() if caption is None else set(caption.iter("graphic"))  # as pictures, among the words
    graphics = tuple(href for each in node.iter("graphic") if each not in formulas and (href := each.get(_HREF)))
    return Figure(node.get("id") or f"fig{place}", words, " ".join(filter(None, parts)), graphics)


def _read(path: Path, name: str, skipped: dict[str, list[str]]) -> Article | None:
    if path.stat().st_size > _MOST_BYTES:
        skip(skipped, "too_large", name)
        return None
    try:
        return read_article(path.read_bytes(), source=name)
    except DataError:
        skip(skipped, "unreadable_article", name)
        return None


def _rows(
    article: Article, path: str, stems: dict[str, str], skipped: dict[str, list[str]], used: set[str]
) -> list[Row]:
    folder, stem = posixpath.split(path)
    known, rows = article.pmid or article.pmc or stem.removesuffix(".nxml"), []
    for figure in article.figures:
        name = f"{known}_{figure.id}"
        if not figure.caption or not figure.graphics:
            skip(skipped, "no_caption" if figure.graphics else "no_graphic", name)
            continue
        for graphic in figure.graphics:
            wanted = posixpath.join(folder, posixpath.basename(graphic))  # beside it, whatever an article says
            free = (each for n in count(1) if (each := name if n == 1 else f"{name}_{n}") not in used)
            row: Row = {"id": next(free), "image": stems.get(wanted, f"{wanted}.jpg")}
            used.add(str(row["id"]))
            rows.append(row | {"text": figure.caption, "figure": figure.label, "id.article": article.pmc or known})
    return rows


def _rank(path: str) -> int:
    ending = posixpath.splitext(path)[1].lower()
    return _IMAGES.index(ending) if ending in _IMAGES else len(_IMAGES)
