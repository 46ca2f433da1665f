"""The words that were removed from a file are looked for in whatever text of it is kept."""

from __future__ import annotations

import re
from unicodedata import normalize

REMOVED = "XXXX"
"""What stands for removed words in text, as in the Indiana University (OpenI) reports; medvlp.text reads it so."""

_SHORTEST_NAME, _SHORTEST_NUMBER = 3, 4
_HAN, _SYLLABLES = "\u3005\u3400-\u9fff\U00020000-\U0003ffff", "\u3041-\u30ff\uac00-\ud7a3"  # kana and hangul
_EAST_ASIAN = re.compile(f"[{_HAN}{_SYLLABLES}]{{2,}}")
_UNSPACED = re.compile(f"[{_HAN}]{{2,}}|[{_HAN}{_SYLLABLES}]{{3,}}")  # no blank parts it from the words around
_NAME_PARTS = re.compile(r"[\^=\s,;.]+")


class KnownWords:
    """Names and numbers of one patient, to be cut out of text."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def add_name(self, *names: str) -> None:
        """Add the parts of persons' names (PS3.5 6.2: family^given=ideographic)."""
        for group in normalize("NFC", "=".join(names)).split("="):
            parts = _NAME_PARTS.split(group)
            self._words |= {part for part in parts if len(part) >= _SHORTEST_NAME}
            self._words |= {part for part in (*parts, "".join(parts)) if _EAST_ASIAN.fullmatch(part)}

    def add(self, *values: str) -> None:
        """Add identifiers that are looked for as they are."""
        self._words |= {normalize("NFC", v.strip()) for v in values if len(v.strip()) >= _SHORTEST_NUMBER}

    def scrub(self, text: str) -> str:
        """Put `REMOVED` where one of them stands as whole words, in any case, the longest first."""
        text = normalize("NFC", text)  # letters and accents apart, as of a Mac or a PDF, are no words
        if not self._words:
            return text
        words = sorted(self._words, key=lambda word: (-len(word), word))
        each = (w if _UNSPACED.fullmatch(w) else rf"(?<![^\W_]){re.escape(w)}(?![^\W_])" for w in words)
        return re.sub("|".join(each), REMOVED, text, flags=re.IGNORECASE)
