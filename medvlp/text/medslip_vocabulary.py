"""The 51 anatomies and 75 observations of MeDSLIP, as data with a version, and the rules that lead to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.triplet import Side
from medvlp.text.lemmas import Lemmatiser, lemmatiser
from medvlp.text.ontology import findings as ontology

_FOLDER = Path(__file__).resolve().parent
_PREFIX = "medslip_vocabulary_"
Rule = Literal["m0", "m1+", "m1-", "m1+m2+", "m1+m2-", "m1-m2+"]


@dataclass(frozen=True, slots=True)
class Landmark:
    """One row of the matrix and the words that lead to it.

    `rule` combines three sets of words: any of `base` must be said, those of `first` and `second` are asked for
    (``m1+``, ``m2+``) or forbidden (``m1-``, ``m2-``). `exact` are whole anatomy strings that match whatever the rule
    says, `mended` those that the published rules lack.
    """

    name: str
    rule: Rule
    base: frozenset[str]
    first: frozenset[str]
    second: frozenset[str]
    exact: frozenset[str]
    mended: frozenset[str]

    def matches(self, anatomy: str, *, mended: bool = False) -> bool:
        """Return whether an anatomy string (``"lobe|left|lower"``) is this landmark."""
        if anatomy in self.exact or (mended and anatomy in self.mended):
            return True
        words = frozenset(anatomy.split("|"))
        wanted = {"m1+": bool(words & self.first), "m1-": not words & self.first}
        wanted |= {"m2+": bool(words & self.second), "m2-": not words & self.second}
        parts = [] if self.rule == "m0" else [self.rule[place : place + 3] for place in range(0, len(self.rule), 3)]
        return bool(words & self.base) and all(wanted[part] for part in parts)


@dataclass(frozen=True, slots=True)
class MedslipVocabulary:
    """Rows (51 anatomies) and columns (75 observations) by position, and how words, findings and places lead to them.

    `landmarks` are the 49 rows that have a rule; in the `normal` columns 1 means healthy; the `excluded` words of
    change, size and surgery share the last column; `merges` leads a lemma to the one it counts as, `irregular` a form
    to its lemma; `places` an anatomy of medvlp to its rows (left, right, neither). Results carry the file's `sha256`.
    """

    version: str
    sha256: str
    landmarks: tuple[Landmark, ...]
    anatomies: tuple[str, ...]
    observations: tuple[str, ...]
    normal: frozenset[str]
    excluded: frozenset[str]
    merges: Mapping[str, str]
    irregular: Mapping[str, str]
    findings: Mapping[str, str]
    places: Mapping[str, tuple[str, str, str]]

    def landmark_of(self, anatomy: str, *, mended: bool = False) -> str:
        """Return the row of an anatomy string (lower case, ``"lobe|left|lower"``): the first landmark that matches.

        `mended` also knows ``midlung|right``, which the published rules leave out.
        """
        found = next((row.name for row in self.landmarks if row.matches(anatomy, mended=mended)), None)
        return found or ("unspecified" if anatomy == "unspecified" else "other")

    def column_of(self, observation: str, *, lemmas: Lemmatiser | None = None) -> str:
        """Return the column of an observation as written; ``""`` counts as ``"none"``."""
        lemma = (lemmas or self.lemmas())(observation or "none")
        lemma = self.merges.get(lemma, lemma)
        if lemma in self.excluded:
            return "excluded_obs"
        return lemma if lemma in self.observations else "tail_abnorm_obs"

    def lemmas(self) -> Lemmatiser:
        """Return the built-in lemmatiser for the vocabulary's words."""
        phrases = (*self.observations, *self.excluded, *self.merges)
        return lemmatiser(frozenset(word for phrase in phrases for word in phrase.split()), self.irregular)

    def cell_of_finding(self, finding: str, anatomy: str, side: Side) -> tuple[str, str]:
        """Return row and column of a finding of medvlp's own reader.

        An anatomy that no row is made for is ``other``; where none is named, the one of the ontology is meant. A
        finding without a column is a ConfigError.
        """
        if finding not in self.findings:
            raise ConfigError(
                f"The finding {finding!r} has no column in the MeDSLIP vocabulary {self.version}: "
                f"{did_you_mean(finding, list(self.findings))}."
            )
        usual = ontology()[finding].anatomy if finding in ontology() else ""
        left, right, neither = self.places.get(anatomy or usual, ("other", "other", "other"))
        column = self.findings[finding]
        return {"left": left, "right": right}.get(side, neither), column


@cache
def load_medslip_vocabulary(version: str = "v1") -> MedslipVocabulary:
    """Load a version of the vocabulary.

    Raises:
        ConfigError: if there is no such version.

    Example:
        >>> words = load_medslip_vocabulary()
        >>> len(words.anatomies), len(words.observations)
        (51, 75)
    """
    path = _FOLDER / f"{_PREFIX}{version}.yaml"
    if not path.is_file():
        there = sorted(each.stem.removeprefix(_PREFIX) for each in _FOLDER.glob(f"{_PREFIX}*.yaml"))
        raise ConfigError(
            f"There is no version {version!r} of the MeDSLIP vocabulary: choose one of {', '.join(there)}."
        )
    data = path.read_bytes()
    document = yaml.safe_load(data)
    landmarks = tuple(_landmark(entry) for entry in document["landmarks"])
    sides = ("left", "right", "neither")
    return MedslipVocabulary(
        version=document["version"], sha256=hashlib.sha256(data).hexdigest(), landmarks=landmarks,
        anatomies=(*(row.name for row in landmarks), "unspecified", "other"),
        observations=(*document["normal"], *document["abnormal"], "tail_abnorm_obs", "excluded_obs"),
        normal=frozenset(document["normal"]), excluded=frozenset(document["excluded"]),
        merges={word: target for target, words in document["merges"].items() for word in words},
        irregular=document["irregular"], findings=document["findings"],
        places={name: tuple(map(entry.get, sides)) for entry in document["places"] for name in entry["names"]},
    )  # fmt: skip


def _landmark(entry: Mapping[str, Any]) -> Landmark:
    words = {name: frozenset(entry.get(name, ())) for name in ("base", "first", "second", "exact", "mended")}
    return Landmark(name=entry["name"], rule=entry["rule"], **words)
