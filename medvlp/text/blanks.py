"""Blanks, hyphens and line ends as documents, pages, databases and HL7 write them: the rules know plain ones."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from medvlp.text.ontology import terms, word_class
from medvlp.text.phrases import plain

_HYPHENS = str.maketrans("\u2010\u2011", "--")
_TAG = "b|i|u|em|strong|span|font|sup|sub|td|th|table|tbody|ul|ol|html|body|head"
_BLANK = re.compile(
    rf"[^\S\n\r\t\f\v\x85\u2028\u2029 ]|\ufeff|&nbsp;|&#160;|</?(?:{_TAG})(?:\s[^<>]*)?/?>", re.IGNORECASE
)
_LINE_TAG = r"</?(?:br|p|div|li|tr|h[1-6])(?:\s[^<>]*)?/?>"
_HL7 = r"\\(?:\.br|X0[AD])\\|~(?=~|(?-i:[A-Z]))"  # "~5 mm" is about 5 mm
_LINE_END = re.compile(rf"\r\n|[\r\f\v\x85\u2028\u2029]|(?:\\r)?\\n|{_HL7}|{_LINE_TAG}", re.IGNORECASE)

_PAGE = r"[-–—(\[ \t]*+page:?[ \t]+\d+(?:[ \t]*(?:of|/)[ \t]*\d+)?[-–—)\] \t]*+$"
_FOOTER = re.compile(  # what goes on in small letters behind it goes on in the same sentence
    rf"(?<=[^\s.:?!])\s+^{_PAGE}\s*(?=\n[ \t]*(?-i:[a-z\d]))|^{_PAGE}"
    r"|^[ \t]*(?:final|preliminary|wet)[ \t]+(?:report|read)[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)

_BROKEN = re.compile(r"(?<![^\W\d_])([^\W\d_]++)([-\xad][ \t]*\n[ \t]*)([^\W\d_]++)")


def plain_blanks(text: str) -> str:
    r"""Return a text of the same length with plain blanks and hyphens, and without tags inside a line.

    Example:
        >>> plain_blanks("Dr.\xa0Miller"), plain_blanks("No&nbsp;<b>mass</b>")
        ('Dr. Miller', 'No         mass    ')
    """
    return _BLANK.sub(lambda found: " " * len(found[0]), text.translate(_HYPHENS))


@lru_cache(maxsize=8)  # sections, sentences and findings of one report each ask for it
def plain_lines(text: str) -> str:
    r"""Return a text of the same length with plain blanks and plain line ends, without page banners.

    A known word that a line end parts is one again, with the mark of where a word may break.

    Example:
        >>> plain_lines("FINDINGS: Clear.\\.br\\IMPRESSION: Normal.\x0b")
        'FINDINGS: Clear.    \nIMPRESSION: Normal.\n'
    """
    text = plain_blanks(_LINE_END.sub(lambda found: "\n".rjust(len(found[0])), text))
    return _BROKEN.sub(_joined, _FOOTER.sub(lambda found: " " * len(found[0]), text))


def _joined(found: re.Match[str]) -> str:
    joined = plain(found[1] + found[3]) in _known() and not {plain(found[1]), plain(found[3])} <= _known()
    return found[1] + "\xad" * len(found[2]) + found[3] if joined else found[0]


@cache
def _known() -> frozenset[str]:
    return word_class("detected") | terms().words
