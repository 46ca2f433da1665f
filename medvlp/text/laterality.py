"""Left and right in report prose."""

from __future__ import annotations

import re

from medvlp.text.sentences import split_sentences

__all__ = ["other_side", "sided_statements", "unsided_statements"]

_SIDE = re.compile(r"\b(?:left|right)(?=\b|ward)", re.IGNORECASE)
# A sentence with such a word states nothing: "no left effusion", "the right lung is clear".
_ABSENT = re.compile(
    r"\b(?:no|not|none|nor|neither|never|without|absent|absence|free|negative|clear|cleared|clearing|normal|intact|sharp"
    r"|unremarkable|resol(?:ved|ution|ving)|remov(?:ed|al)|cannot)\b",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\b(?:bilateral(?:ly)?|both)\b", re.IGNORECASE)
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
    turn = iter([_states_a_side(sentence) for sentence in sentences for _ in _SIDE.findall(sentence)])
    turned = _SIDE.sub(lambda found: _mirrored(found[0]) if next(turn) else found[0], text)
    return None if turned == text else turned


def sided_statements(text: str) -> list[tuple[str, str]]:
    """Return each sentence that states something of one side, beside its false copy of the other side.

    A sentence whose copy the text states as well is left out: both are true.

    Example:
        >>> sided_statements("Left effusion. No right pneumothorax. Left nodule. Right nodule.")
        [('Left effusion.', 'Right effusion.')]
    """
    sentences = split_sentences(text)
    said = {sentence.lower() for sentence in sentences}
    stated = [sentence for sentence in sentences if _states_a_side(sentence)]
    pairs = [(sentence, _SIDE.sub(lambda found: _mirrored(found[0]), sentence)) for sentence in stated]
    return [(sentence, other) for sentence, other in pairs if other.lower() not in said]


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
        if not (_SIDE.search(sentence) or _ABSENT.search(sentence) or _ORDINARY.search(sentence))
        and re.search(r"[a-z]", sentence)  # capitals alone are a heading
    ]


def _states_a_side(sentence: str) -> bool:
    """Whether a sentence names exactly one of the two sides and denies nothing."""
    sides = {word.lower() for word in _SIDE.findall(sentence)}
    return len(sides) == 1 and not (_ABSENT.search(sentence) or _BOTH.search(sentence))


def _mirrored(word: str) -> str:
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
