"""A report's text -> its sections, whatever the house's header convention.

A header is a known title (``FINDINGS``, ``Clinical history``, ``CONCLUSION`` ...) that stands

* at the start of a line, followed by a colon or a dash, whatever the case: ``Findings: ...``, ``IMPRESSION - ...``,
  ``3. FINDINGS: ...``, ``**Impression:** ...``, or alone on its line, in small letters only where no sentence goes on;
* inside a line, followed by a colon, in capitals, or in title case behind the end of a sentence (tables of reports
  often have their line breaks removed).

What stands before the first header is kept under ``""``; page banners (``FINAL REPORT``) are dropped. Other lines that
begin with capitals and a colon (``NOTIFICATION:``) go to ``other``, except names of anatomy (``LUNGS:``) and findings
(``PNEUMOTHORAX: NONE``), which are parts of the section they stand in; an addendum may have a number, a date, a name or
a frame (``*** Addendum ***``). Where a report has no findings, the paragraphs behind its last opening section
(comparison, technique ... ; indication where there is no impression either), or its lines from the first that begins
with an organ (``Lungs:``), are its findings, or the sentences right before the impression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.text.blanks import plain_lines
from medvlp.text.ontology import terms
from medvlp.text.phrases import tokens_of
from medvlp.text.sentences import sentence_spans

_TITLES: dict[str, tuple[str, ...]] = {
    "exam": (
        "exam", "examination", "study", "procedure", "exam type", "type of exam", "type of examination",
        "procedure comments",
    ),
    "indication": (
        "indication", "indications", "history", "clinical history", "clinical indication", "clinical information",
        "clinical details", "clinical data", "clinical statement", "reason for exam", "reason for examination",
        "reason for study", "reason for this examination", "medical history", "patient history", "clinical", "reason",
    ),
    "technique": ("technique", "techniques", "method", "protocol", "views"),
    "comparison": ("comparison", "comparisons", "comparison study", "prior", "prior studies", "previous studies"),
    "findings": (
        "findings", "finding", "report", "radiographic findings", "findings and impression", "findings/impression",
        "impression and findings", "observations", "description", "imaging findings", "ct findings", "chest findings",
        "narrative", "result", "results",
    ),
    "impression": (
        "impression", "impressions", "conclusion", "conclusions", "opinion", "summary", "interpretation", "diagnosis",
        "impression and recommendation", "impression and recommendations", "impression/recommendation",
        "impression/recommendations", "impression/recommendation(s)", "conclusion and recommendation",
    ),
    "recommendation": ("recommendation", "recommendations", "recommendation(s)", "advice", "follow-up recommendations"),
    "addendum": ("addendum", "addenda"),
    "other": (
        "notification", "notifications", "wet read", "comment", "comments", "note", "signed", "dictated by",
        "reported by",
    ),
}  # fmt: skip
SECTIONS = tuple(_TITLES)
_NAME = {title: name for name, titles in _TITLES.items() for title in titles}
_ANATOMY = re.compile(  # any of these words makes "LINES, TUBES AND DEVICES:" a part of its section
    r"\b(lungs?|hearts?|pleural?|mediastin(um|al)|hil(a|um|ar)|bones?|osseous|skeletal|lines|tubes|devices|hardware|"
    r"abdomen|airways?|trachea|aorta|diaphragm|vessels|vasculature|cardiac|cardiomediastinal|spine|ribs|wall|"
    r"tissues?|catheters?|lymph|nodes?|neck|thyroid|pericardi(um|al)|coronar(y|ies)|arter(y|ies)|axillae?|breasts?|"
    r"esophagus|liver|spleen|adrenals?|kidneys?|parenchyma|thorax)\b",
    re.IGNORECASE,
)
_NOT_INSIDE = frozenset((  # words of ordinary sentences: headers only at the start of a line
    "note", "comment", "comments", "prior", "views", "method", "protocol", "summary", "diagnosis", "finding", "signed",
    "reason", "narrative", "result", "results",
))  # fmt: skip
_ANY = "|".join(re.escape(title).replace(r"\ ", r"[ \t]+") for title in sorted(_NAME, key=len, reverse=True))
_GOES_ON = re.compile(r"[^\s.?!:][ \t]*\n\Z")  # a line whose sentence does not end with it
_MARK = r"(?:\(?\d{1,2}[.)][ \t]*+|[-•][ \t]++)?"
_AT_LINE = re.compile(
    rf"^[ \t]*+{_MARK}[*#_ \t]*+(?P<title>{_ANY})[*_]*[ \t]*(?::[*_]*|[ \t][-–—]{{1,2}}(?=\s)|[–—])[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_OWN_LINE = re.compile(rf"^[ \t]*+{_MARK}[*#_ \t]*+(?P<title>{_ANY})[*_]*[ \t]*$", re.IGNORECASE | re.MULTILINE)
_INSIDE = re.compile(rf"(?:(?<=\s)|(?<=[.?!]))(?P<title>{_ANY})[ \t]*:[ \t]*", re.IGNORECASE)
_UNKNOWN = re.compile(r"^[ \t]*(?P<title>[A-Z][A-Z0-9 /&(),'-]{2,50}):", re.MULTILINE)
_ADDENDUM = re.compile(  # numbered, dated, signed or framed: "ADDENDUM #2:", "*** Addendum ***", "ADDENDUM BEGINS"
    r"^[ \t*#=_-]*(?P<title>A(?:DDEND|ddend)(?:UM|A|um|a))\b(?:(?:[^\n:]|:(?=\d)){,60}:"
    r"|[^\n.:]{,40}(?:[*=]{2,}|$))[ \t*]*",
    re.MULTILINE,
)
_ITEM = re.compile(r"(?:^|(?<=:)|(?<=: ))[ \t]*\(?(\d{1,2})[.)][ \t]", re.MULTILINE)
_OPENING = frozenset(("exam", "indication", "technique", "comparison"))  # of the visit, not of the picture
_BLANK_LINE = re.compile(r"(?<=\S)[ \t]*\n[ \t]*\n\s*")
_ORGAN_LINE = re.compile(  # begins a list of findings
    r"\n\s*(?=(?:lungs?|pleura|heart|mediastinum|airways?|lines|tubes|bones)(?:(?: ?[/&,]| and\b| size)[\w /&,]*)?:)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[a-z)]\.(?!\S)", re.IGNORECASE)  # ends there
_PROSE = 3  # words from which on a paragraph behind the opening sections can be the report itself
_CHEST_VIEW = re.compile(r"\b(chest|cxr|views?|pa|ap|lateral|portable|radiographs?)\b", re.IGNORECASE)


_Span: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class _Header:
    """Where a header stands and which section it opens; `keep` leaves its words in the body."""

    start: int
    end: int
    name: str
    keep: bool = False


@dataclass(frozen=True, slots=True)
class ReportText:
    """What `report_text` chose: the words, and names of the sections that they come from, in order.

    `fell_back` is True where none of the wanted sections had words and another was taken.
    """

    text: str
    used: tuple[str, ...]
    fell_back: bool


def check_sections(sections: Sequence[str]) -> None:
    """Refuse names that no section has, and an empty list: a report would give another section, and not say so.

    Raises:
        ConfigError: there is no section of a name, or no name.

    Example:
        >>> check_sections(["findings", ""])
    """
    for name in sections or ["(none given)"]:
        if name not in ("", *SECTIONS):
            raise ConfigError(f"There is no section {name!r}: {did_you_mean(name, SECTIONS)}.")


def split_sections(report: str) -> dict[str, str]:
    r"""Split a report into sections.

    Args:
        report: the whole text.

    Returns:
        Canonical lower-case name -> body, in the order of the text. Names are ``exam``, ``indication``, ``technique``,
        ``comparison``, ``findings``, ``impression``, ``recommendation``, ``addendum``, ``other`` and ``""`` for what
        stands before the first header (all of it where there is none). A section that comes twice is joined by a line
        break; a joint section (``FINDINGS AND IMPRESSION``) is ``findings``; sections without words are left out. Lines
        of a body are stripped and keep their breaks.

    Example:
        >>> split_sections("FINDINGS: Clear lungs.\n\nIMPRESSION - Normal.")
        {'findings': 'Clear lungs.', 'impression': 'Normal.'}
        >>> split_sections("Clear lungs.")
        {'': 'Clear lungs.'}
    """
    text = plain_lines(report)
    sections: dict[str, str] = {}
    for name, start, end in section_spans(report):
        body = _body(text[start:end])
        if body:
            sections[name] = f"{sections[name]}\n{body}" if name in sections else body
    return sections


@lru_cache(maxsize=256)  # views and readers ask for the sections of one report several times in a row
def section_spans(report: str) -> tuple[tuple[str, int, int], ...]:
    """Return (canonical name, start, end) of each stretch of a report, in order; a name may come twice."""
    text = plain_lines(report)
    headers = _headers(text)
    edges = [_Header(0, 0, ""), *headers]
    spans = [
        (header.name, header.start if header.keep else header.end, following.start)
        for header, following in zip(edges, [*headers, _Header(len(text), len(text), "")], strict=True)
    ]
    spans = [cut for before, span in pairwise([("", 0, 0), *spans]) for cut in _findings_go_on(text, before, span)]
    parts, spans = [(name, start, end) for name, start, end in spans if _body(text[start:end])], list[_Span]()
    for part in parts:
        spans += _list_goes_on(text, spans[-1], part) if spans else [part]
    names = [name for name, _, _ in spans]
    if names[:2] == ["", "impression"] and "findings" not in names and _SENTENCE.search(text, 0, spans[0][2]):
        return (("findings", *spans[0][1:]), *spans[1:])  # no mere title of the film
    at = names.index("impression") - 1 if "impression" in names else len(names) - 1
    if at < 0 or "findings" in names or names[at] not in _OPENING:
        return tuple(spans)
    name, start, end = spans[at]
    # Before an impression, a paragraph behind an indication is told of the patient or of the films.
    patterns = (_ORGAN_LINE,) if name == "indication" and at < len(names) - 1 else (_ORGAN_LINE, _BLANK_LINE)
    gaps = filter(None, (pattern.search(text, start, end) for pattern in patterns))
    gap = min(gaps, key=re.Match.start, default=None)
    prose = gap is not None and len(_body(text[gap.end() : end]).split()) >= _PROSE
    cuts = [(name, start, gap.start()), ("findings", gap.end(), end)] if gap and prose else [(name, start, end)]
    return (*spans[:at], *(cut for cut in cuts if _body(text[cut[1] : cut[2]])), *spans[at + 1 :])


def _findings_go_on(text: str, before: _Span, span: _Span) -> list[_Span]:
    """Cut off what follows the sentence of a comparison within findings: "Comparison: None. The heart is enlarged."."""
    name, start, end = span
    inside = (before[0], name) == ("findings", "comparison") and text[: before[2]].rstrip(" \t")[-1:] != "\n"
    last = start + next((last for _, last in sentence_spans(text[start:end])), end - start) if inside else end
    return [(name, start, last), ("findings", last, end)] if last < end else [span]


def _list_goes_on(text: str, before: _Span, span: _Span) -> list[_Span]:
    """Cut off the items of a list that began before a header in it: "1. Nodule. Recommendation: CT. 2. Effusion"."""
    name, start, end = span
    last, first = [int(item[1]) for item in _ITEM.finditer(text, *before[1:])][-1:], _ITEM.search(text, start, end)
    if name == "recommendation" and first and last == [int(first[1]) - 1] and _body(text[start : first.start()]):
        return [(name, start, first.start()), (before[0], first.start(), end)]
    return [span]


def report_sentences(report: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence of a report, section by section."""
    report = plain_lines(report)
    return [
        (start + first, start + last)
        for _, start, end in section_spans(report)
        for first, last in sentence_spans(report[start:end])
    ]


def report_text(report: str, sections: Sequence[str] = ("findings", "impression")) -> ReportText:
    r"""Return the words of the wanted sections, and say so where others had to be taken.

    Where none of the wanted sections has words the first of these that has some is taken and `fell_back` is True: the
    text before the first header, ``findings``, ``impression``, ``addendum``, ``other``, and last the whole report. An
    addendum amends the report: it comes last where the impression is wanted, and with what others are taken.

    Args:
        report: the whole text.
        sections: canonical names, in the order in which they are joined. A wanted section that is missing beside one
            that is there is no fall back: `used` tells.

    Example:
        >>> report_text("INDICATION: Cough.\nFINDINGS: Clear lungs.\nIMPRESSION: Normal.").text
        'Clear lungs.\n\nNormal.'
        >>> report_text("Clear lungs.")
        ReportText(text='Clear lungs.', used=('',), fell_back=True)
    """
    parts = split_sections(report)
    wanted = tuple(name for name in sections if name in parts)
    used = wanted or tuple(name for name in ("", "findings", "impression", "addendum", "other") if name in parts)[:1]
    if not used:
        return ReportText(report.strip(), tuple(parts), fell_back=True)
    if "addendum" in parts and "addendum" not in used and ("impression" in sections or not wanted):
        used = (*used, "addendum")
    return ReportText("\n\n".join(parts[name] for name in used), used, fell_back=not wanted)


def _headers(text: str) -> list[_Header]:
    """Return the headers in the order of the text, none overlapping another."""
    found: dict[int, _Header] = {}
    for pattern in (_AT_LINE, _OWN_LINE, _INSIDE):
        for match in pattern.finditer(text):
            title = match["title"]
            if pattern is not _AT_LINE and not _stands_as_header(text, match, inside=pattern is _INSIDE):
                continue
            name = _NAME[" ".join(title.lower().split())]
            found.setdefault(match.start("title"), _Header(match.start(), match.end(), name))
    for match in _ADDENDUM.finditer(text):
        worded = re.search("[A-Za-z]", text[match.end("title") : match.end()]) is not None
        found.setdefault(match.start("title"), _Header(match.start(), match.end(), "addendum", keep=worded))
    starts = set(found)
    for match in _UNKNOWN.finditer(text):
        title = match["title"].strip()
        if match.start("title") not in starts and not _ANATOMY.search(title) and not _is_finding(title):
            view = bool(_CHEST_VIEW.search(title))
            header = _Header(match.start(), match.end(), "findings" if view else "other", keep=not view)
            found.setdefault(match.start("title"), header)
    headers: list[_Header] = []
    for _, header in sorted(found.items()):
        if not headers or header.start >= headers[-1].end:
            headers.append(header)
    return headers


def _is_finding(title: str) -> bool:
    """Return whether a title is a finding of a list, as in ``PLEURAL EFFUSION: NONE``."""
    tokens = tokens_of(title)
    return len(tokens) == sum(len(found.at) for found in terms().find(tokens))


def _stands_as_header(text: str, match: re.Match[str], *, inside: bool) -> bool:
    """Return whether a title without the usual place is a header and not a word of a sentence."""
    title, before = match["title"], text[: match.start("title")].rstrip(" \t")
    if inside:
        begins = title.isupper() or (title[0].isupper() and before[-1:] in ("", "\n", ".", "?", "!"))
        return begins and title.lower() not in _NOT_INSIDE
    return title[0].isupper() or (
        title not in _NOT_INSIDE and _GOES_ON.search(text[max(0, match.start() - 80) : match.start()]) is None
    )


def _body(text: str) -> str:
    return "\n".join(line for line in (line.strip() for line in text.replace("\xad", "").split("\n")) if line)
