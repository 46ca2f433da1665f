"""The words that were removed from a file are looked for in whatever text of it is kept."""

from __future__ import annotations

import re
from unicodedata import normalize

REMOVED = "XXXX"
"""What stands for removed words in text, as in the Indiana University (OpenI) reports; medvlp.text reads it so."""

_SHORTEST_NAME, _SHORTEST_NUMBER = 3, 4
_NAME_PARTS = re.compile(r"[\^=\s,;.]+")


class KnownWords:
    """Names and numbers of one patient, to be cut out of text."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def add_name(self, *names: str) -> None:
        """Add the parts of persons' names (PS3.5 6.2: family^given=ideographic)."""
        parts = _NAME_PARTS.split(normalize("NFC", "^".join(names)))
        self._words |= {part for part in parts if len(part) >= _SHORTEST_NAME}

    def add(self, *values: str) -> None:
        """Add identifiers that are looked for as they are."""
        self._words |= {normalize("NFC", v.strip()) for v in values if len(v.strip()) >= _SHORTEST_NUMBER}

    def scrub(self, text: str) -> str:
        """Put `REMOVED` where one of them stands as whole words, in any case, the longest first."""
        text = normalize("NFC", text)  # letters and accents apart, as of a Mac or a PDF, are no words
        if not self._words:
            return text
        pattern = "|".join(re.escape(word) for word in sorted(self._words, key=lambda word: (-len(word), word)))
        return re.sub(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", REMOVED, text, flags=re.IGNORECASE)
