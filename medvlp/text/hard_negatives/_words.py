"""What the rules share: articles, number, and noun phrases that have no verb."""

from __future__ import annotations

import re

# Nouns that stand without an article.
_MASS = re.compile(
    r"consolidation|o?edema|cardiomegaly|atelectasis|emphysema|fluid|air|congestion|disease|pneumonia|enlargement|loss"
    r"|hyperinflation|hyperexpansion|thickening|collapse|fibrosis|scarring|bronchiectasis|(?:lymph)?adenopathy|change"
    r"|tuberculosis|ptx|pna|failure|widening|elevation|haze|calcification|infection|infiltration"
)
_VERBS = re.compile(
    r"\b(?:is|are|was|were|has|have|had|be|been|there|not|but|which|that|to|than|as|longer|may|can|cannot|could|with"
    r"|without|since|from|compared|either|neither|any|change|changes|changed|interval|other|further|evidence|signs?|no|or|nor"
    r"|and|both|bilateral(?:ly)?|consistent|suggest\w*|represent\w*|reflect\w*|due|likely|possible|possibly|probable|stable"
    r"|unchanged|new|persistent|increased|decreased|worsening|improving|resolved|prior|previous(?:ly)?|removed|removal)\b"
    r"|[,;:()\d]",
    re.IGNORECASE,
)
AGREEMENT = {
    "is": "are", "has": "have", "measures": "measure", "projects": "project", "represents": "represent",
    "contains": "contain",
}  # fmt: skip


def is_phrase(words: str) -> bool:
    """Whether words are one plain noun phrase: no verb, no second thing, no number, nothing that compares or doubts."""
    return bool(words.strip()) and len(words.split()) <= 10 and not _VERBS.search(words)


def _head(phrase: str) -> str:
    """Return the noun that a phrase is about: the last word before a place."""
    words = re.split(r"\b(?:in|on|at|of|over|within|near|along)\b", phrase, maxsplit=1, flags=re.IGNORECASE)[0].split()
    return words[-1].lower() if words else ""


def article_of(phrase: str) -> str:
    """Return ``"a "``, ``"an "`` or nothing, as the noun of a phrase takes it."""
    noun = _head(phrase)
    plural = noun.endswith("s") and not noun.endswith(("is", "us", "ss"))
    if not noun or plural or _MASS.fullmatch(noun):
        return ""
    first = phrase.split()[0]
    vowel = first[0] in "AEFHILMNORSX" if first.isupper() and first != "PICC" else first[0].lower() in "aeiou"
    return "an " if vowel else "a "


def capital(text: str) -> str:
    """Return a sentence that begins with a capital letter."""
    return text[:1].upper() + text[1:]
