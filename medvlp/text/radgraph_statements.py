"""Reports with RadGraph entities -> statements (anatomy, observation, presence).

This is the second pass of the preprocessing that AGXNet published (Yu et al., MICCAI 2022) and MedKLIP and MeDSLIP use:
heads, their modifiers, what is located at them, and what is located nowhere. With all options off it gives the same
statements; each option mends one of its limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from medvlp.core.triplet import Presence
from medvlp.text.radgraph import Entity, RadGraphReport, RelationType

UNSPECIFIED = "unspecified"


@dataclass(frozen=True, slots=True)
class RadGraphStatement:
    """One row of the parse.

    Attributes:
        anatomy: head and modifiers, lower case, joined by ``|`` (``"lobe|left|lower"``), or ``"unspecified"``.
        observation: lower case; empty where an anatomy is named and nothing is said of it.
        presence: of the observation; empty with it.
        modifiers: present observations that modify it, lower case.
        suggested_by: present observations that suggest it, lower case.
        sentence: tokens joined by single spaces.
        number: of the sentence.
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

    Args:
        report: entities and their relations.
        linked_observations: an observation without a place of its own takes that of the observation it suggests,
            modifies or is suggested by. Off, one that points only at another observation is lost.
        nested_modifiers: modifiers of modifiers belong to the anatomy ("left" -> "lower" -> "lobe"). Off, only those
            that point at the head itself do.
        across_sentences: relations hold between sentences too. Off, both ends must stand in one sentence.

    Example:
        >>> from medvlp.text.radgraph import parse_radgraph
        >>> entities = {
        ...     "1": {"tokens": "Left", "label": "ANAT-DP", "start_ix": 0, "relations": [["modify", "2"]]},
        ...     "2": {"tokens": "lung", "label": "ANAT-DP", "start_ix": 1, "relations": []},
        ...     "3": {"tokens": "clear", "label": "OBS-DP", "start_ix": 2, "relations": [["located_at", "2"]]},
        ... }
        >>> report = parse_radgraph({"0": {"text": "Left lung clear .", "entities": entities}})[0]
        >>> [(each.anatomy, each.observation, each.presence) for each in radgraph_statements(report)]
        [('lung|left', 'clear', 'present')]
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
                if _is_anatomy(entity) and entity.id not in names and any(r.target == name for r in entity.relations)
            ]
        return names

    def _said(self, entity: Entity, anatomy: str, blank: RadGraphStatement) -> RadGraphStatement:
        modifiers, suggested_by = (
            tuple(each.words.lower() for each in self._sources(entity, kind) if _is_present(each))
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


def _is_anatomy(entity: Entity) -> bool:
    return entity.kind == "anatomy" and entity.presence == "present"


def _is_head(entity: Entity) -> bool:
    return _is_anatomy(entity) and not entity.relations


def _is_present(entity: Entity) -> bool:
    return entity.kind == "observation" and entity.presence == "present"
