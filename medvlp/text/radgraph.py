"""RadGraph JSON -> reports with entities: both styles of labels, both styles of keys.

The release for MIMIC-CXR (Jain et al., "RadGraph", NeurIPS Datasets 2021) is one object, a report's path
(``p10/p10000032/s50414267.txt``) -> ``{text, entities}``; entities are id -> ``{tokens, label, start_ix, end_ix,
relations: [[type, target], ...]}`` with the labels ``ANAT-DP``, ``OBS-DP``, ``OBS-DA``, ``OBS-U``. The `radgraph`
package writes the same under ``"0"``, ``"1"`` ..., with labels in words: ``Anatomy::definitely present``,
``Observation::uncertain``, ``Observation::measurement::...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """A stretch of a report (words as written) with its kind, certainty, outgoing edges and the number of its sentence.

    A ``"measurement"`` takes no part in triplets.
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


UNSPECIFIED = "unspecified"


@dataclass(frozen=True, slots=True)
class RadGraphStatement:
    """One row of the parse; all words are in lower case.

    `anatomy` is head and modifiers joined by ``|`` (``"lobe|left|lower"``), or ``"unspecified"``; `observation` is
    empty, and `presence` None, where an anatomy is named and nothing is said of it; `modifiers` and `suggested_by` are
    present observations that modify or suggest it; `number` is that of the sentence.
    """

    anatomy: str
    observation: str
    presence: Presence | None
    modifiers: tuple[str, ...]
    suggested_by: tuple[str, ...]
    sentence: str
    number: int


def radgraph_statements(
    report: RadGraphReport, *, linked_observations: bool = False, nested_modifiers: bool = False,
    across_sentences: bool = False,
) -> tuple[RadGraphStatement, ...]:  # fmt: skip
    """Return what a report says of which anatomy, sentence by sentence.

    This is the second pass of the preprocessing that AGXNet published (Yu et al., MICCAI 2022) and MedKLIP and MeDSLIP
    use; with all options off it gives the same statements, and each option mends one of its limits.

    Args:
        report: entities and their relations.
        linked_observations: an observation without a place of its own takes that of the observation it suggests,
            modifies or is suggested by. Off, one that points only at another observation is lost.
        nested_modifiers: modifiers of modifiers belong to the anatomy ("left" -> "lower" -> "lobe"). Off, only those
            that point at the head itself do.
        across_sentences: relations hold between sentences too. Off, both ends must stand in one sentence.
    """
    order = {entity.id: place for place, entity in enumerate(report.entities)}
    numbers = sorted({entity.sentence for entity in report.entities})
    # The reference goes through sentences in the order in which their first entity comes.
    numbers.sort(key=lambda number: min(order[e.id] for e in report.entities if e.sentence == number))
    found: list[RadGraphStatement] = []
    for number in numbers:
        own = [entity for entity in report.entities if entity.sentence == number]
        reachable = report.entities if across_sentences else own
        graph = _Graph({entity.id: entity for entity in reachable}, nested_modifiers, linked_observations)
        found += graph.statements(own, report.sentences[number], number)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Graph:
    """Entities among which relations are followed, and how far."""

    entities: Mapping[str, Entity]
    nested: bool
    linked: bool

    def statements(self, own: Sequence[Entity], sentence: str, number: int) -> list[RadGraphStatement]:
        blank = RadGraphStatement(UNSPECIFIED, "", None, (), (), sentence, number)
        heads = [entity for entity in self.entities.values() if _is_head(entity)]
        here = [head for head in heads if head.sentence == number]
        observations = [entity for entity in own if entity.kind == "observation"]
        placed: dict[str, list[str]] = {}
        of_head: dict[str, list[RadGraphStatement]] = {head.id: [] for head in here}
        for head in heads:
            names = self._anatomy(head)
            anatomy = "|".join(self.entities[name].words.lower() for name in names)
            for entity in observations:
                if any(each.type == "located_at" and each.target in names for each in entity.relations):
                    placed.setdefault(entity.id, []).append(anatomy)
                    of_head.setdefault(head.id, []).append(self._said(entity, anatomy, blank))
            if head in here and not of_head[head.id]:
                of_head[head.id] = [replace(blank, anatomy=anatomy)]
        loose = self._loose(observations, placed, blank, bool(here))
        if not here and not loose and not any(of_head.values()):
            loose = [blank]
        # The reference repeats the loose ones with every head; once is enough for all that is made of them.
        return list(dict.fromkeys([*(each for head in of_head for each in of_head[head]), *loose]))

    def _loose(
        self, observations: Sequence[Entity], placed: Mapping[str, Sequence[str]], blank: RadGraphStatement, heads: bool
    ) -> list[RadGraphStatement]:
        """Return what is said of observations that are located at no anatomy."""
        said: list[RadGraphStatement] = []
        for entity in observations:
            if entity.id in placed:
                continue
            borrowed = list(dict.fromkeys(self._borrowed(entity))) if self.linked else []
            if borrowed:
                said += [self._said(entity, anatomy, blank) for anatomy in borrowed]
            elif not entity.relations or (self.linked and self._only_linked(entity)):
                said.append(self._said(entity, UNSPECIFIED, blank))
        return said

    def _only_linked(self, entity: Entity) -> bool:
        """Whether all it points at are observations, so that it has no place of its own."""
        targets = [self.entities.get(each.target) for each in entity.relations]
        return all(each is not None and each.kind == "observation" for each in targets)

    def _borrowed(self, entity: Entity) -> Iterable[str]:
        """Anatomies of the observations that it points at, or that suggest it."""
        targets = [each.target for each in entity.relations if each.type in ("modify", "suggestive_of")]
        sources = [each.id for each in self._sources(entity, "suggestive_of")]
        for name in (*targets, *sources):
            other = self.entities.get(name)
            if other is None or other.kind != "observation":
                continue
            for head in (each for each in self.entities.values() if _is_head(each)):
                names = self._anatomy(head)
                if any(each.type == "located_at" and each.target in names for each in other.relations):
                    yield "|".join(self.entities[each].words.lower() for each in names)

    def _anatomy(self, head: Entity) -> list[str]:
        """Ids of a head anatomy and of the anatomies that point at it, nearest first."""
        names = [head.id]
        for name in names:  # grows while it is gone through
            if name != head.id and not self.nested:
                break
            names += [
                entity.id
                for entity in self.entities.values()
                if _is_of(entity, "anatomy")
                and entity.id not in names
                and any(r.target == name for r in entity.relations)
            ]
        return names

    def _said(self, entity: Entity, anatomy: str, blank: RadGraphStatement) -> RadGraphStatement:
        modifiers, suggested_by = (
            tuple(each.words.lower() for each in self._sources(entity, kind) if _is_of(each, "observation"))
            for kind in ("modify", "suggestive_of")
        )
        return replace(
            blank, anatomy=anatomy, observation=entity.words.lower(), presence=entity.presence, modifiers=modifiers,
            suggested_by=suggested_by,
        )  # fmt: skip

    def _sources(self, entity: Entity, kind: RelationType) -> list[Entity]:
        return [
            each
            for each in self.entities.values()
            if any(r.target == entity.id and r.type == kind for r in each.relations)
        ]


def _is_of(entity: Entity, kind: Kind) -> bool:
    return entity.kind == kind and entity.presence == "present"


def _is_head(entity: Entity) -> bool:
    return _is_of(entity, "anatomy") and not entity.relations
