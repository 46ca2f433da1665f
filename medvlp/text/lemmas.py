"""A small lemmatiser for the words of radiology observations: a table, and suffixes that lead to a known word.

A suffix is taken off only where a word of the vocabulary remains, and a plural is made single otherwise. The published
matrices were made with a small English spaCy model, whose answers change with its version: `spacy_lemmatiser`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Collection, Mapping

from medvlp.core.errors import UserError

Lemmatiser = Callable[[str], str]
_NEVER_PLURAL = re.compile(r"(?:ss|us|is|os)$")  # process, status, atelectasis, kyphos
_SUFFIXES = (
    ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
    ("ings", ""), ("ings", "e"), ("er", ""), ("er", "e"), ("est", ""), ("est", "e"),
)  # fmt: skip


def lemmatiser(known: Collection[str], irregular: Mapping[str, str]) -> Lemmatiser:
    """Return a function that turns each word of a lower-case phrase into its lemma.

    Args:
        known: words that a suffix may be taken off to reach; they are their own lemmas.
        irregular: form -> lemma, before all rules.
    """

    def one(word: str) -> str:
        if word in irregular:
            return irregular[word]
        if word in known:
            return word
        for suffix, ending in _SUFFIXES:
            stem = word.removesuffix(suffix)
            if stem == word or len(stem) < 2:
                continue
            single = stem[:-1] if not ending and stem[-1] == stem[-2] else stem  # clipped, scarring
            found = next((each for each in (stem + ending, single) if each in known), None)
            if found is not None:
                return found
        return _singular(word)

    return lambda phrase: " ".join(one(word) for word in phrase.lower().split())


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or _NEVER_PLURAL.search(word):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(?:ch|sh|x|ss|z)es$", word) else word[:-1]


def spacy_lemmatiser() -> Lemmatiser:
    """Return the lemmatiser of spaCy's small English model, as used by the published preprocessing.

    Raises:
        UserError: if spaCy or the model is not installed.
    """
    model = "en_core_web_sm"
    for package in ("spacy", model):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"The lemmas of {model} need the package {package!r}, which is not installed: install it, or leave the "
                "built-in lemmatiser."
            )
    pipeline = importlib.import_module("spacy").load(model)
    return lambda phrase: " ".join(token.lemma_ for token in pipeline(phrase.lower()))
