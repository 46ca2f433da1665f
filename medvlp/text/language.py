"""Is a text English? Decided by the small words that every sentence needs."""

from __future__ import annotations

import re

from medvlp.text.ontology import word_class

_WORD = re.compile(r"[^\W\d_]+")


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
