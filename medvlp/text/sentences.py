"""Report prose -> sentences: decimals, abbreviations, enumerations and wrapped lines are the traps."""

from __future__ import annotations

import re

_NEVER_LAST = frozenset(
    ("dr", "mr", "mrs", "ms", "prof", "st", "vs", "approx", "cf", "fig", "figs", "incl", "resp", "e.g", "i.e", "dept")
)
_TIME = frozenset(("a.m", "p.m"))
_TITLES = frozenset(("dr.", "mr.", "mrs.", "ms.", "prof."))
_LIST_MARK = re.compile(r"^(?:\(?\d{1,2}[.)]|[-*•·])\s+")
_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
_GLUED = re.compile(r"(?<=[a-z]{2}[.?!])(?=[A-Z][a-z])")
_WRAPPED = 60  # characters from which on a line without full stop is taken to be broken by wrapping


def split_sentences(text: str) -> list[str]:
    """Split report prose into sentences, in order, with list marks removed and white space made single.

    A full stop does not end a sentence inside a number (``1.2 cm``), after an abbreviation that never comes last
    (``Dr.``, ``vs.``, ``e.g.``; ``No.`` before a number), in ``a.m.`` before what goes on, after an initial (``Dr. J.
    Smith``), before a lower-case letter or behind a list mark (``1.``). It does end one after a unit (``2 cm. The
    heart``) and where the space behind it was lost (``effusion.No``). A line break ends a sentence at a blank line,
    before a list mark, and after a short line without full stop unless the next goes on in lower case; other breaks are
    those of wrapped lines.

    Example:
        >>> split_sentences("1. A 1.2 cm nodule. 2. No change vs. the prior by Dr. J. Smith.")
        ['A 1.2 cm nodule.', 'No change vs. the prior by Dr. J. Smith.']
    """
    return [sentence for block in _blocks(text) for sentence in _of_block(block)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence of `split_sentences` in the text.

    Example:
        >>> text = "1. Clear lungs.  2. Normal heart."
        >>> [text[start:end] for start, end in sentence_spans(text)]
        ['Clear lungs.', 'Normal heart.']
    """
    places = [place for place, letter in enumerate(text) if not letter.isspace()]
    squeezed = "".join(text[place] for place in places)
    spans: list[tuple[int, int]] = []
    cursor = 0
    for sentence in split_sentences(text):
        letters = "".join(sentence.split())
        start = squeezed.index(letters, cursor)  # a sentence loses white space and the mark in front, nothing else
        cursor = start + len(letters)
        spans.append((places[start], places[cursor - 1] + 1))
    return spans


def _blocks(text: str) -> list[str]:
    """Return stretches of text that no sentence crosses, wrapped lines joined."""
    blocks: list[str] = []
    before = ""
    for line in (line.strip() for line in re.split(r"\r\n|\r|\n", text)):
        if line:
            if before and not _LIST_MARK.match(line) and _goes_on(before, line):
                blocks[-1] = f"{blocks[-1]} {line}"
            else:
                blocks.append(line)
        before = line
    return [" ".join(block.split()) for block in blocks]


def _goes_on(before: str, line: str) -> bool:
    return before[-1] in ".?!:;," or len(before) >= _WRAPPED or line[0].islower() or line[0].isdigit()


def _of_block(block: str) -> list[str]:
    sentences: list[str] = []
    for piece in _GLUED.split(block):
        start = 0
        for end in _END.finditer(piece):
            mark = _LIST_MARK.match(piece[start:])
            if mark:
                start += mark.end()
            if end.end() > start and _ends(piece, start, end):
                sentences.append(piece[start : end.end()].strip())
                start = end.end() + (len(piece[end.end() :]) - len(piece[end.end() :].lstrip()))
        rest = _LIST_MARK.sub("", piece[start:].strip())
        sentences.append(rest)
    return [sentence for sentence in sentences if re.search(r"\w", sentence)]


def _ends(text: str, start: int, end: re.Match[str]) -> bool:
    """Return whether a full stop (or ? or !) at this place ends the sentence that began at `start`."""
    following = text[end.end() :].lstrip()
    if not following:
        return True
    if following[0].islower():
        return False
    if not end[0].startswith("."):
        return True
    words = text[start : end.start()].split()
    last = words[-1].lower().lstrip("(\"'") if words else ""
    if last in ("no", "nos"):
        return not following[0].isdigit()
    if last in _NEVER_LAST:
        return False
    if last in _TIME:
        return not (following[0].isdigit() or following.split()[0].lower() in _TITLES)
    initial = len(last) == 1 and words[-1][-1].isupper()
    return not (initial and (len(words) == 1 or words[-2].lower() in _TITLES or re.fullmatch(r"[A-Z]\.", words[-2])))
