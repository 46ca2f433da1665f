"""The findings that reports are read for, and how the label lists of public data sets map to them.

The facts are in ``medvlp/text/_lexicon/*.yaml``: title, words, parents, place and, where pydicom's dictionary of DICOM
codes has one, a code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.triplet import Side
from medvlp.text.phrases import Phrases

_FOLDER = Path(__file__).parent / "_lexicon"
IGNORED = "ignored"
_FILES = ("lungs", "pleura", "heart", "bones", "devices", "other")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding; column ``label.KEY``.

    Attributes:
        key: snake case; `title` for people.
        title: see key.
        anatomy: where it is when the report does not say; empty where it may be anywhere.
        parents: keys of what it is a kind of.
        code: (scheme, keyword) in ``pydicom.sr.codedict``, or None.
        sided: False where left and right mean nothing.
        side: on which side it is where none is said and it is there.
        at: anatomy -> key of the finding that it is there ("fracture" at a rib).
        grades: texture -> severity.
        terms: lines of the phrase notation that name it; `normal` those that say it is not there ("costophrenic angles
            are sharp"), `denied` that say something of it only where they are denied ("acute osseous abnormality"),
            `doubtful` that name a sign of it, which leaves it uncertain ("blunted costophrenic angle").
    """

    key: str
    title: str
    anatomy: str
    parents: tuple[str, ...] = ()
    code: tuple[str, str] | None = None
    sided: bool = True
    side: Side = ""
    at: Mapping[str, str] = field(default_factory=dict)
    grades: Mapping[str, str] = field(default_factory=dict)
    terms: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a vocabulary: the finding's key, and its name as the data set writes it.

    `counts` are findings that count as it beside its kinds, `signs` those that do where a sentence names nothing that a
    label counts; the words in `unless` keep a mention from counting; a present label in `implied_by` implies it.
    """

    key: str
    name: str
    counts: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    unless: frozenset[str] = frozenset()
    implied_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A list of labels in the order of the data set.

    `certain` are words of doubt that this list takes for certain; `whole`: its "normal" means that no finding of the
    ontology is there, and not just none of the list.
    """

    name: str
    title: str
    labels: tuple[Label, ...]
    certain: frozenset[str] = field(default_factory=frozenset)
    whole: bool = False


def lines(text: str | None) -> tuple[str, ...]:
    """Return the lines of a block that have words."""
    return tuple(filter(None, map(str.strip, (text or "").splitlines())))


@cache
def load(name: str) -> dict[str, Any]:
    """Return a file of the lexicon, read once: nobody may change it."""
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def findings() -> dict[str, Finding]:
    """Return the findings by key."""
    read: dict[str, Finding] = {}
    for name in _FILES:
        for key, facts in load(name).items():
            if key == IGNORED:
                continue
            code = facts.get("code")
            read[key] = Finding(
                key=key, title=facts["title"], anatomy=facts["anatomy"], parents=tuple(facts.get("parents", ())),
                code=(code[0], code[1]) if code else None,
                **{name: facts[name] for name in ("sided", "side", "at", "grades") if name in facts},
                terms=lines(facts.get("terms")), normal=lines(facts.get("normal")), denied=lines(facts.get("denied")),
                doubtful=lines(facts.get("doubtful")),
            )  # fmt: skip
    return read


@cache
def ignored() -> tuple[str, ...]:
    """Return the phrases that look like a finding and are none ("subcutaneous emphysema")."""
    return lines(load("other")[IGNORED]["terms"])


@cache
def ancestors(key: str) -> frozenset[str]:
    """Return a finding and all that it is a kind of; of a key that is no finding, the key alone."""
    parents = findings()[key].parents if key in findings() else ()
    return frozenset({key}.union(*(ancestors(parent) for parent in parents)))


@cache
def _vocabularies() -> dict[str, Vocabulary]:
    return {
        name: Vocabulary(
            name, facts["title"], tuple(_label(key, label) for key, label in facts["labels"].items()),
            certain=frozenset(facts.get("certain", ())), whole=facts.get("whole", False),
        )
        for name, facts in load("vocabularies").items()
    }  # fmt: skip


def _label(key: str, facts: Mapping[str, Any]) -> Label:
    several = {name: tuple(facts.get(name, ())) for name in ("counts", "signs", "implied_by")}
    return Label(key, facts["name"], unless=frozenset(facts.get("unless", ())), **several)


VOCABULARIES: tuple[str, ...] = tuple(_vocabularies())


def vocabulary(name: str) -> Vocabulary:
    """Return a vocabulary by name.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    if name not in _vocabularies():
        raise ConfigError(f"There is no label vocabulary {name!r}: {did_you_mean(name, VOCABULARIES)}.")
    return _vocabularies()[name]


@dataclass(frozen=True, slots=True)
class Term:
    """What a phrase of the lexicon says of a finding (its key; empty for what is no finding).

    `kind`: ``"term"`` names it, ``"normal"`` says that it is not there, ``"denied"`` says something of it only where it
    is denied, ``"doubtful"`` names a sign that leaves it uncertain, ``"ignored"`` is no finding.
    """

    finding: str
    kind: Literal["term", "normal", "denied", "doubtful", "ignored"]


@cache
def terms() -> Phrases[Term]:
    """Return the phrases of all findings."""
    entries = [
        (line, Term(finding.key, kind))
        for finding in findings().values()
        for kind in ("term", "normal", "denied", "doubtful")
        for line in (finding.terms if kind == "term" else getattr(finding, kind))
    ]
    return Phrases([*entries, *((line, Term("", "ignored")) for line in ignored())])


@lru_cache(maxsize=1 << 16)  # words of any report
def respelt(word: str) -> str:
    """Return the word of the lexicon that an unknown one misspells, with its consonants and no vowels but its own.

    Example:
        >>> [respelt(word) for word in ("pnuemothorax", "effussion", "hemithorax", "fibrosus")]
        ['pneumothorax', 'effusion', 'hemithorax', 'fibrosus']
    """
    meant = word if len(word) < 7 or word in terms().words else _by_consonants().get(_consonants(word), word)
    return meant if set(word) <= set(meant) else word


@cache
def _by_consonants() -> dict[str, str]:
    return {_consonants(word): word for word in sorted(terms().words) if len(word) > 6 and word[-3:] != "lly"}


def _consonants(word: str) -> str:
    return word[0] + re.sub(r"[aeiouy]|(.)(?=\1)", "", word[1:])


@cache
def word_class(name: str) -> frozenset[str]:
    """Return a class of words, see ``_lexicon/words.yaml``."""
    return frozenset(load("words")[name].split())
