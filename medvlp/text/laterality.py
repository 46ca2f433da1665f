"""Left and right in report prose."""

from __future__ import annotations

import re

from medvlp.text.sentences import sentence_spans, split_sentences

_PAIRS = (
    ("left", "right"), ("lt", "rt"), ("l", "r"), ("lul", "rul"), ("lll", "rll"), ("luz", "ruz"), ("lmz", "rmz"),
    ("llz", "rlz"), ("lij", "rij"), ("lue", "rue"), ("lle", "rle"), ("lao", "rao"), ("lpo", "rpo"), ("levo", "dextro"),
)  # fmt: skip
_OTHER = {**dict(_PAIRS), **{right: left for left, right in _PAIRS}}
_LEFT = frozenset(left for left, _ in _PAIRS)
# Single letters are sides before a word in small letters ("R lung", "L-sided", "L to R"), in a comparison ("L>R"), in
# brackets ("small (L) effusion") or behind "on the", but not in "R/O", "L spine" or an initial.
_LETTER = (
    r"(?<![\w/&'’.-])[LR](?=\s+(?:(?!spine\b)[a-z]|\d+(?:st|nd|rd|th)\b)|-sided\b|\s*[<>])|(?<=[<>])\s?[LR](?!\w)"
    r"|(?<=\s\()[LR](?=\))|(?<=\bon the )[LR](?![\w/])"
)
_ABBREVIATIONS = "|".join(word.upper() for pair in _PAIRS[3:-1] for word in pair)
# "Drain left in place" and "the right setting" have no side, and are no copies; "on the left in place" has one.
_VERB = r"(?<!\b[Tt]he\s)(?<!\b[Oo]n\s)(?i:left|right)\s+(?i:in\s+(?:place|situ))\b|(?i:right\s(?:clinical|setting))"

SIDE_WORD = re.compile(
    rf"\b(?!{_VERB})(?i:left|right)(?=\b|ward)|\b(?i:lt|rt)\b|\b(?:{_ABBREVIATIONS})\b"
    rf"|\b(?i:levo|dextro)(?=(?i:-?(?:scolio|convex|curv|rotat)))|{_LETTER}"
)


def opposite(word: str) -> str:
    """Return the word for the other side of what `SIDE_WORD` found, in the same letters.

    Example:
        >>> [opposite(word) for word in ("Left", "RIGHT", "RLL", "dextro", "L")]
        ['Right', 'LEFT', 'LLL', 'levo', 'R']
    """
    bare = word.strip()
    other = _OTHER[bare.lower()]
    turned = other.upper() if bare.isupper() else other.capitalize() if bare[0].isupper() else other
    return word.replace(bare, turned)


def side_of(word: str) -> str:
    """Return ``"left"`` or ``"right"`` for what `SIDE_WORD` found.

    A curve of the spine is called by the side of its convexity.

    Example:
        >>> side_of("RLL"), side_of("levo")
        ('right', 'left')
    """
    return "left" if word.strip().lower() in _LEFT else "right"


# A sentence with such a word states nothing: "no left effusion", "the right lung is clear".
_ABSENT = re.compile(
    r"\b(?:no|nil|not|none|nor|neither|never|without|absent|absence|free|negative|clear(?:ed|ing)?|normal|intact|sharp"
    r"|unremarkable|resol(?:ved|ution|ving)|remov(?:ed|al)|cannot|\w+n['’]t)\b",
    re.IGNORECASE,
)
# Both sides, or a place that the other side lacks: a left middle lobe would give the copy away.
_NOT_TURNED = re.compile(
    r"\b(?:bilateral(?:ly)?|bilat|b/l|[lr]/[lr]|both|RML|middle[ -]lobes?|lingul\w*|minor fissures?|aort\w+|atri\w+"
    r"|gastric|liver|hepatic|spleen)\b",
    re.IGNORECASE,
)
# Nor does one with such a word, or a heading.
_ORDINARY = re.compile(
    r"\b(?:midline|(?:is|are) central|within|well|preserved|upper limits?|average|adequate(?:ly)?|appropriate(?:ly)?"
    r"|correlat\w+|recommend\w*|follow-?up|advised?)\b|[:?]\s*$",
    re.IGNORECASE,
)


def other_side(text: str) -> str | None:
    """Turn left into right and right into left wherever that makes a false statement of a true one.

    Only side words change: those of sentences that state something of one side. A sentence that names both sides, or
    that denies or calls normal ("no left effusion"), stays as it is: its mirror image may be as true. So does one of a
    place that the other side lacks ("right middle lobe", "lingula"): its mirror image cannot be.

    Returns:
        str | None: the text with at least one statement now false, or None where nothing can be turned.
    """
    other = text
    for start, end in reversed(sentence_spans(text)):  # from the end: an exchanged word may be longer
        if states_a_side(text[start:end]):
            other = other[:start] + turned(text[start:end]) + other[end:]
    return None if other == text else other


def sided_statements(text: str) -> list[tuple[str, str]]:
    """Return each sentence that states something of one side, beside its false copy of the other side.

    A sentence whose copy the text states as well is left out: both are true.
    """
    sentences = split_sentences(text)
    all_stated = {sentence.lower() for sentence in sentences}
    pairs = [(sentence, turned(sentence)) for sentence in sentences if states_a_side(sentence)]
    return [(sentence, other) for sentence, other in pairs if other.lower() not in all_stated]


def unsided_statements(text: str) -> list[str]:
    """Return each sentence that states something abnormal, of no side or of both.

    What denies, calls normal or tells that something is gone states nothing here.
    """
    return [
        sentence
        for sentence in split_sentences(text)
        if not (SIDE_WORD.search(sentence) or _ABSENT.search(sentence) or _ORDINARY.search(sentence))
        and re.search(r"[a-z]", sentence)  # capitals alone are a heading
    ]


def states_a_side(sentence: str) -> bool:
    """Whether a sentence names exactly one of the two sides, no place that the other lacks, and denies nothing.

    Example:
        >>> states_a_side("RLL opacity."), states_a_side("No left effusion."), states_a_side("Left and right nodules.")
        (True, False, False)
    """
    sides = {side_of(word) for word in SIDE_WORD.findall(sentence)}
    return len(sides) == 1 and not (_ABSENT.search(sentence) or _NOT_TURNED.search(sentence))


def turned(sentence: str) -> str:
    """Return a sentence with every word of side exchanged."""
    return SIDE_WORD.sub(lambda found: opposite(found[0]), sentence)
