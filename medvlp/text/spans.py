"""Where the sentences and sections of a report stand in its text, so that words can be changed in place."""

from __future__ import annotations

from medvlp.text.sections import split_sections
from medvlp.text.sentences import split_sentences

__all__ = ["body_spans", "sentence_spans"]


def sentence_spans(text: str, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    r"""Return where each sentence of `split_sentences` begins and ends, list marks and white space left out.

    Args:
        text: any text.
        start: first character that is looked at.
        stop: the one behind the last; None for the end.

    Example:
        >>> text = "1. Left\n effusion. 2. No nodule."
        >>> [text[a:b] for a, b in sentence_spans(text)]
        ['Left\n effusion.', 'No nodule.']
    """
    stop = len(text) if stop is None else stop
    return _located(text, split_sentences(text[start:stop]), start, stop)


def body_spans(report: str) -> dict[str, tuple[int, int]]:
    """Return where the body of each section begins and ends, in the order of the text.

    A section that comes twice has no one place and is left out.

    Example:
        >>> report = "FINDINGS: Clear lungs. IMPRESSION: Normal."
        >>> {name: report[a:b] for name, (a, b) in body_spans(report).items()}
        {'findings': 'Clear lungs.', 'impression': 'Normal.'}
    """
    spans: dict[str, tuple[int, int]] = {}
    at = 0
    for name, body in split_sections(report).items():
        found = _place(report, body.split(), at, len(report))
        if found is not None:
            spans[name] = found
            at = found[1]
    return spans


def _located(text: str, pieces: list[str], start: int, stop: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for piece in pieces:
        found = _place(text, piece.split(), start, stop)
        if found is not None:
            spans.append(found)
            start = found[1]
    return spans


def _place(text: str, words: list[str], start: int, stop: int) -> tuple[int, int] | None:
    """Return where these words stand one after another with nothing but white space between."""
    at = text.find(words[0], start, stop) if words else -1
    while at >= 0:
        end = at + len(words[0])
        for word in words[1:]:
            following = end
            while following < stop and text[following].isspace():
                following += 1
            if following == end or not text.startswith(word, following, stop):
                break
            end = following + len(word)
        else:
            return at, end
        at = text.find(words[0], at + 1, stop)
    return None
