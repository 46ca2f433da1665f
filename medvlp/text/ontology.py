"""The findings that reports are read for, and how the label lists of public data sets map to them.

The facts are in ``medvlp/text/_lexicon/*.yaml``: title, words, parents, place and, where pydicom's dictionary of DICOM
codes has one, a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.core.triplet import Side

_FOLDER = Path(__file__).parent / "_lexicon"
IGNORED = "ignored"
_FILES = ("lungs", "pleura", "heart", "bones", "devices", "other")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding.

    Attributes:
        key: snake case; column ``label.KEY``.
        title: for people.
        anatomy: where it is when the report does not say; empty where it may be anywhere.
        parents: keys of what it is a kind of.
        code: (scheme, keyword) in ``pydicom.sr.codedict``, or None.
        side: on which side it is where none is said and it is there.
        at: anatomy -> key of the finding that it is there ("fracture" at a rib).
        sided: False where left and right mean nothing.
        grades: texture -> severity.
        terms: lines of the phrase notation that name it.
        normal: lines that say it is not there ("costophrenic angles are sharp").
        denied: lines that say something of it only where they are denied ("acute osseous abnormality").
        doubtful: lines that name a sign of it, which leaves it in doubt ("blunted costophrenic angle").
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
    """One label of a vocabulary.

    Attributes:
        key: of the finding.
        name: as the data set writes it.
        counts: keys of findings that count as it, beside its kinds.
        signs: keys of findings that count as it where a sentence names nothing that a label counts.
        unless: words that keep a mention from counting.
        implied_by: keys of labels whose presence implies it.
    """

    key: str
    name: str
    counts: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    unless: frozenset[str] = frozenset()
    implied_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A list of labels.

    Attributes:
        name: of the vocabulary.
        title: of the data set.
        labels: in the order of the data set.
        certain: words of doubt that this label list takes for certain.
        whole: whether its "normal" means that no finding of the ontology is there, and not just none of the list.
    """

    name: str
    title: str
    labels: tuple[Label, ...]
    certain: frozenset[str] = field(default_factory=frozenset)
    whole: bool = False


def lines(text: str | None) -> tuple[str, ...]:
    """Return the lines of a block that have words."""
    return tuple(filter(None, map(str.strip, (text or "").splitlines())))


def load(name: str) -> dict[str, Any]:
    """Return a file of the lexicon."""
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def findings() -> dict[str, Finding]:
    """Return the findings by key.

    Example:
        >>> findings()["effusion"].title
        'Pleural effusion'
    """
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
                **{name: lines(facts.get(name)) for name in ("terms", "normal", "denied", "doubtful")},
            )  # fmt: skip
    return read


@cache
def ignored() -> tuple[str, ...]:
    """Return the phrases that look like a finding and are none ("subcutaneous emphysema")."""
    return lines(load("other")[IGNORED]["terms"])


@cache
def ancestors(key: str) -> frozenset[str]:
    """Return a finding and all that it is a kind of; of a key that is no finding, the key alone.

    Example:
        >>> sorted(ancestors("rib_fracture"))
        ['fracture', 'rib_fracture']
    """
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

    Example:
        >>> [label.name for label in vocabulary("nih14").labels][:2]
        ['Atelectasis', 'Cardiomegaly']
    """
    if name not in _vocabularies():
        raise ConfigError(f"There is no label vocabulary {name!r}: {did_you_mean(name, VOCABULARIES)}.")
    return _vocabularies()[name]
