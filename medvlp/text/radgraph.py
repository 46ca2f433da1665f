"""RadGraph JSON -> reports with entities: both styles of labels, both styles of keys.

The release for MIMIC-CXR (Jain et al., "RadGraph", NeurIPS Datasets 2021) is one object, a report's path
(``p10/p10000032/s50414267.txt``) -> ``{text, entities}``; entities are id -> ``{tokens, label, start_ix, end_ix,
relations: [[type, target], ...]}`` with the labels ``ANAT-DP``, ``OBS-DP``, ``OBS-DA``, ``OBS-U``. The `radgraph`
package writes the same under ``"0"``, ``"1"`` ..., with labels in words: ``Anatomy::definitely present``,
``Observation::uncertain``, ``Observation::measurement::...``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medvlp.core.errors import DataError
from medvlp.core.files import read_json
from medvlp.core.triplet import Presence

Kind = Literal["anatomy", "observation", "measurement"]
RelationType = Literal["modify", "located_at", "suggestive_of"]

_SHORT: dict[str, tuple[Kind, Presence]] = {
    "ANAT-DP": ("anatomy", "present"), "ANAT-DA": ("anatomy", "absent"), "ANAT-U": ("anatomy", "uncertain"),
    "OBS-DP": ("observation", "present"), "OBS-DA": ("observation", "absent"), "OBS-U": ("observation", "uncertain"),
}  # fmt: skip
_CERTAINTY: dict[str, Presence] = {
    "definitely present": "present", "definitely absent": "absent", "uncertain": "uncertain",
}  # fmt: skip
_RELATIONS: dict[str, RelationType] = {name: name for name in get_args(RelationType)}
_MIMIC_KEY = re.compile(r"(?:.*/)?p(\d+)/s(\d+)(?:\.txt)?$")


@dataclass(frozen=True, slots=True)
class Relation:
    """An edge from an entity to another, by its id; always source to target."""

    type: RelationType
    target: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A stretch of a report with its kind and certainty.

    Attributes:
        id: within the report.
        words: as written.
        kind: ``"anatomy" | "observation" | "measurement"``; measurements take no part in triplets.
        presence: definitely present, definitely absent or uncertain.
        relations: outgoing edges.
        sentence: number of its sentence within the report.
    """

    id: str
    words: str
    kind: Kind
    presence: Presence
    relations: tuple[Relation, ...]
    sentence: int


@dataclass(frozen=True, slots=True)
class RadGraphReport:
    """A report as RadGraph annotates it.

    Attributes:
        study_id: digits of the MIMIC path, or the key where it is no such path.
        subject_id: likewise, empty where the key names none.
        sentences: tokens joined by single spaces.
        entities: in the order of the file.
    """

    study_id: str
    subject_id: str
    sentences: tuple[str, ...]
    entities: tuple[Entity, ...]


def read_radgraph(path: Path) -> tuple[RadGraphReport, ...]:
    """Read a RadGraph JSON file.

    Raises:
        DataError: if the file is missing, not JSON, or not of RadGraph's form.
    """
    return parse_radgraph(read_json(path), place=str(path))


def parse_radgraph(annotations: Mapping[str, object], *, place: str = "The annotations") -> tuple[RadGraphReport, ...]:
    """Turn the object of a RadGraph file, key -> {text, entities}, into reports; `place` names it in messages.

    Sentences end at ``.``, ``?`` and ``!`` tokens of the text, which is tokenised already; a full stop between two
    numbers ends none. (The published preprocessing tokenises a second time with NLTK and counts on the two tokenisers
    agreeing; where they do not, sentences shift or the run breaks.)

    Raises:
        DataError: if an entry is not of RadGraph's form.

    Example:
        >>> entity = {"tokens": "Clear", "label": "Observation::definitely present", "start_ix": 0, "relations": []}
        >>> report = parse_radgraph({"p10/p10000032/s50414267.txt": {"text": "Clear .", "entities": {"1": entity}}})[0]
        >>> report.study_id, report.entities[0].kind, report.entities[0].presence
        ('50414267', 'observation', 'present')
    """
    if not annotations:
        raise DataError(f"{place} holds no report: check that it is RadGraph's output.")
    return tuple(
        _report(key, entry, f"{place}, report {number}")
        for number, (key, entry) in enumerate(annotations.items(), start=1)
    )


def _report(key: str, entry: object, place: str) -> RadGraphReport:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        raise DataError(f"{place} has no 'text': RadGraph entries hold 'text' and 'entities', check the file.")
    entities = entry.get("entities")
    if not isinstance(entities, Mapping):
        raise DataError(
            f"{place} has no 'entities': RadGraph entries hold 'text' and 'entities'; where two labellers' answers "
            "stand instead (the release's test file), keep one of them as 'entities'."
        )
    tokens = str(entry["text"]).split()
    numbers = _sentence_numbers(tokens)
    sentences = [""] * (numbers[-1] + 1 if numbers else 0)
    for token, number in zip(tokens, numbers, strict=True):
        sentences[number] = f"{sentences[number]} {token}".lstrip()
    found = tuple(_entity(str(name), value, numbers, f"{place}, entity {name!r}") for name, value in entities.items())
    names = {entity.id for entity in found}
    for entity in found:
        for relation in entity.relations:
            if relation.target not in names:
                raise DataError(
                    f"{place}, entity {entity.id!r} points at entity {relation.target!r}, which is not there: the file "
                    "may be cut, make it again."
                )
    path = _MIMIC_KEY.match(key)
    study, subject = (path[2], path[1]) if path else (key, "")
    return RadGraphReport(study, subject, tuple(sentences), found)


def _sentence_numbers(tokens: Sequence[str]) -> list[int]:
    """Return the sentence of each token."""
    numbers: list[int] = []
    number = 0
    for place, token in enumerate(tokens):
        numbers.append(number)
        around = (tokens[place - 1 : place], tokens[place + 1 : place + 2])
        inside_number = token == "." and all(each and each[0].isdigit() for each in around)
        if token in (".", "?", "!") and not inside_number:
            number += 1
    return numbers


def _entity(name: str, value: object, numbers: Sequence[int], place: str) -> Entity:
    if not isinstance(value, Mapping):
        raise DataError(f"{place} is not an object with tokens, label, start_ix and relations: check the file.")
    words, start, relations = value.get("tokens"), value.get("start_ix"), value.get("relations")
    if not isinstance(words, str) or not isinstance(start, int) or not isinstance(relations, Sequence):
        raise DataError(f"{place} lacks tokens, start_ix or relations: check that the file is RadGraph's output.")
    if not 0 <= start < len(numbers):
        raise DataError(
            f"{place} starts at token {start} of a text of {len(numbers)} tokens: text and entities do not belong "
            "together, make the file again."
        )
    kind, presence = _label(value.get("label"), place)
    edges = tuple(_relation(each, place) for each in relations if each is not None)
    return Entity(name, words, kind, presence, edges, numbers[start])


def _label(label: object, place: str) -> tuple[Kind, Presence]:
    if isinstance(label, str):
        if label in _SHORT:
            return _SHORT[label]
        parts = label.lower().split("::")
        kind, middle, certainty = parts[0], parts[1:-1], parts[-1]
        if kind in ("anatomy", "observation") and certainty in _CERTAINTY and middle in ([], ["measurement"]):
            return "measurement" if middle else kind, _CERTAINTY[certainty]
    raise DataError(
        f"{place} has the label {label!r}; RadGraph's are ANAT-DP, OBS-DP, OBS-DA and OBS-U, or in words "
        "'Observation::definitely present' and the like: check the file."
    )


def _relation(value: object, place: str) -> Relation:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2 and value[0] in _RELATIONS:
        return Relation(_RELATIONS[value[0]], str(value[1]))
    raise DataError(
        f"{place} has the relation {value!r}; allowed are pairs of modify, located_at or suggestive_of and a target: "
        "check the file."
    )
