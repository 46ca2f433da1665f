"""Words that the prose of reports is made of, told from names and identifiers.

They are those of findings and places and those that ``_lexicon/words.yaml`` lists: grades, views, sexes, parts of the
body, examinations. Some are names as well ("Small", "Head"): whoever asks decides by what stands around them.
"""

from __future__ import annotations

from functools import cache

from medvlp.text.laterality import SIDE_WORD
from medvlp.text.ontology import VOCABULARIES, findings, ignored, lines, load, terms, vocabulary, word_class
from medvlp.text.phrases import Phrases, plain, tokens_of

#: Nobody is called so.
BARE = word_class("never_names")
#: Some are names as well ("An Nguyen", "May Wong"), though hardly in text of capitals only.
SMALL = word_class("little_words")
#: Parts of the body and examinations.
PARTS = word_class("examined")
_TOLD_BY = ("terms", "normal", "denied", "doubtful")
_JOINING = frozenset(("of", "in", "or"))
_CLASSES = ("verbs", "detected", "prior", "gone", "states", "differential", "hard_ends")


@cache
def clinical_words() -> frozenset[str]:
    """Return words of findings, places, grades, views, sexes and examinations, their plain forms among them."""
    lexicon = (line for each in findings().values() for kind in _TOLD_BY for line in getattr(each, kind))
    placed = (line for blocks in load("places").values() for block in blocks.values() for line in lines(block))
    words = Phrases((line, None) for line in (*lexicon, *ignored(), *placed)).words
    labels = (label.name for name in VOCABULARIES for label in vocabulary(name).labels)
    words |= {token.word for label in labels for token in tokens_of(label)}
    words = {word for word in words.union(*map(word_class, _CLASSES)) if len(word) > 2 and word.isalpha()}
    listed = word_class("described") | PARTS
    return frozenset({plain(word) for word in words | listed} | listed) - word_class("names_too")


def is_clinical(value: str) -> bool:
    """Whether every word of a value is one of findings, sides, views, sexes or grades, so that it identifies nobody.

    Example:
        >>> [is_clinical(value) for value in ("Pneumothorax|Left effusion", "CHEST PA", "Ward 7", "4711", "Jane Lung")]
        [True, True, False, False, False]
    """
    tokens = tokens_of(value)
    known = {at for found in terms().find(tokens) for at in found.at}
    words = [(at, token) for at, token in enumerate(tokens) if token.word.isalnum()]
    return any(token.word.isalpha() and len(token.word) > 1 for _, token in words) and all(
        at in known or token.word in clinical_words() | BARE | _JOINING or len(token.word) == 1
        or SIDE_WORD.fullmatch(value[token.start : token.end]) is not None
        for at, token in words
    )  # fmt: skip
