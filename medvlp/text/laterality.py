"""Left and right in report prose."""

from __future__ import annotations

import re

from medvlp.text.sentences import split_sentences
from medvlp.text.side_words import SIDE_WORD, opposite, side_of

# A sentence with such a word states nothing: "no left effusion", "the right lung is clear".
_ABSENT = re.compile(
    r"\b(?:no|not|none|nor|neither|never|without|absent|absence|free|negative|clear|cleared|clearing|normal|intact|sharp"
    r"|unremarkable|resol(?:ved|ution|ving)|remov(?:ed|al)|cannot)\b",
    re.IGNORECASE,
)
# Both sides, or a lobe that the other side lacks in a word that cannot be turned.
_BOTH = re.compile(r"\b(?:bilateral(?:ly)?|bilat|both|RML)\b", re.IGNORECASE)
# Nor does one with such a word, or a heading.
_ORDINARY = re.compile(
    r"\b(?:midline|(?:is|are) central|within|well|preserved|upper limits?|average|adequate(?:ly)?|appropriate(?:ly)?"
    r"|correlat\w+|recommend\w*|follow-?up|advised?)\b|[:?]\s*$",
    re.IGNORECASE,
)


def other_side(text: str) -> str | None:
    """Turn left into right and right into left wherever that makes a false statement of a true one.

    Only side words change: those of sentences that state something of one side. A sentence that names both sides, or
    that denies or calls normal ("no left effusion"), stays as it is: its mirror image may be as true.

    Returns:
        str | None: the text with at least one statement now false, or None where nothing can be turned.

    Example:
        >>> other_side("1. Left effusion. 2. No right pneumothorax.")
        '1. Right effusion. 2. No right pneumothorax.'
        >>> other_side("No left effusion.") is None
        True
    """
    sentences = split_sentences(text)
    sided = iter([states_a_side(sentence) for sentence in sentences for _ in SIDE_WORD.findall(sentence)])
    other = SIDE_WORD.sub(lambda found: opposite(found[0]) if next(sided) else found[0], text)
    return None if other == text else other


def sided_statements(text: str) -> list[tuple[str, str]]:
    """Return each sentence that states something of one side, beside its false copy of the other side.

    A sentence whose copy the text states as well is left out: both are true.

    Example:
        >>> sided_statements("Left effusion. No right pneumothorax. Left nodule. Right nodule.")
        [('Left effusion.', 'Right effusion.')]
    """
    sentences = split_sentences(text)
    all_stated = {sentence.lower() for sentence in sentences}
    pairs = [(sentence, turned(sentence)) for sentence in sentences if states_a_side(sentence)]
    return [(sentence, other) for sentence, other in pairs if other.lower() not in all_stated]


def unsided_statements(text: str) -> list[str]:
    """Return each sentence that states something abnormal, of no side or of both.

    What denies, calls normal or tells that something is gone states nothing here.

    Example:
        >>> unsided_statements("The heart is enlarged. Left effusion. No edema. Bilateral opacities.")
        ['The heart is enlarged.', 'Bilateral opacities.']
    """
    return [
        sentence
        for sentence in split_sentences(text)
        if not (SIDE_WORD.search(sentence) or _ABSENT.search(sentence) or _ORDINARY.search(sentence))
        and re.search(r"[a-z]", sentence)  # capitals alone are a heading
    ]


def states_a_side(sentence: str) -> bool:
    """Whether a sentence names exactly one of the two sides and denies nothing.

    Example:
        >>> states_a_side("RLL opacity."), states_a_side("No left effusion."), states_a_side("Left and right nodules.")
        (True, False, False)
    """
    sides = {side_of(word) for word in SIDE_WORD.findall(sentence)}
    return len(sides) == 1 and not (_ABSENT.search(sentence) or _BOTH.search(sentence))


def turned(sentence: str) -> str:
    """Return a sentence with every word of side exchanged.

    Example:
        >>> turned("Left-sided effusion, RLL opacity.")
        'Right-sided effusion, LLL opacity.'
    """
    return SIDE_WORD.sub(lambda found: opposite(found[0]), sentence)
