"""The same report on two sides.

Most repetitions are harmless: "The heart is normal. The lungs are clear." stands under thousands of studies. A long,
abnormal report that only two or three studies share was copied.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from unicodedata import normalize

from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.notes import Note
from medvlp.data.leakage.rows import Rows
from medvlp.text.mentions import read_report

_FEWEST_WORDS = 12
_MOST_STUDIES = 3
_WORD = re.compile(r"[^\W_]+(?:\.\d+)?")
_EMPTY = re.compile(
    r"an?|and|are|as|at|be|been|but|by|for|from|has|have|in|into|is|its?|no|not|of|on|or|that|the|their|there|these|this|"
    r"to|was|were|with|which|without|findings|impression|conclusion|comparison|indication|technique|history"
)


def text_leaks(rows: Rows) -> tuple[list[Leak], list[Note]]:
    """Return report texts that leak, and one note on those that merely repeat.

    Texts are compared in small letters without punctuation. A text leaks if it has at least 12 words with content, is
    abnormal, and belongs to three studies at most (patients where studies are not known, else records).
    """
    texts = rows.column("text")
    named = zip(rows.scoped("id.study"), rows.patients, rows.sets, rows.ids, strict=True)
    whose = [study or patient or (set_, id_) for study, patient, set_, id_ in named]
    places: dict[str, dict[str, int]] = defaultdict(dict)
    studies: dict[str, set[object]] = defaultdict(set)
    original: dict[str, str] = {}
    for row, text in enumerate(texts):
        if text is None or rows.splits[row] is None:
            continue
        plain = " ".join(_WORD.findall(normalize("NFC", str(text)).lower()))
        places[plain].setdefault(rows.splits[row], row)
        studies[plain].add(whose[row])
        original.setdefault(plain, str(text))
    leaks: list[Leak] = []
    repeated = 0
    for plain, sides in places.items():
        if len(sides) < 2 or not plain:
            continue
        count = content_words(plain)
        if count >= _FEWEST_WORDS and len(studies[plain]) <= _MOST_STUDIES and is_abnormal(original[plain]):
            detail = f"{count} words with content"
            leaks += [rows.leak("report_text", a, b, detail) for a, b in combinations(sorted(sides.values()), 2)]
        else:
            repeated += 1
    if not repeated:
        return leaks, []
    words = f"{repeated} of {len(places)} different texts stand on several sides; they are short, normal or common."
    return leaks, [Note("repeated_text", words, {"texts": len(places), "repeated": repeated})]


def content_words(text: str) -> int:
    """Count the words of a report that are neither particles nor section titles.

    Example:
        >>> content_words("FINDINGS: There is a small left effusion.")
        3
    """
    return sum(not _EMPTY.fullmatch(word) for word in _WORD.findall(text.lower()))


def is_abnormal(text: str) -> bool:
    """Whether a report says of some finding or device that it is there.

    Example:
        >>> is_abnormal("Small left effusion."), is_abnormal("No effusion. Lungs are clear.")
        (True, False)
    """
    return any(each.presence == "present" and each.finding != "no_finding" for each in read_report(text))
