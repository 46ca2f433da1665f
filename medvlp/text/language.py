"""Is a text English, decided by the small words that every sentence needs, and is it a report at all?"""

from __future__ import annotations

import re

from medvlp.text.ontology import word_class

#: In small letters: what databases, spreadsheets and people write where nothing is known.
LIKE_BLANK = (
    "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "unknown", "unk", "missing", "-", "--", "?", "\\n",
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def is_blank(text: str) -> bool:
    """Return whether a text stands for a report that is not there; that does not say that all is well.

    Example:
        >>> [is_blank(text) for text in ("", "___", " NaN", "N/A.", "Clear.")]
        [True, True, True, True, False]
    """
    return _WORD.search(text) is None or text.strip(" \t\n.").casefold() in LIKE_BLANK


def is_english(text: str) -> bool:
    """Return whether a report is English; a text without any telling word is taken to be.

    German, Spanish, French, Portuguese, Italian and Dutch are known by their small words and by their accents.
    """
    # Capitals are abbreviations ("ET tube"), unless all is written so.
    capitals = text.isupper()
    words = [word.lower() for word in _WORD.findall(text) if capitals or not word.isupper()]
    english, foreign = word_class("english"), word_class("other")
    other = sum(word in foreign or not word.isascii() for word in words)
    return other <= sum(word in english for word in words)
