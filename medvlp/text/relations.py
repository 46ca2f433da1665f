"""What reports state as (subject, predicate, object, value), and such statements as a matrix over fixed words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from medvlp.core.triplet import Presence
from medvlp.text.radgraph import Entity, RadGraphReport
from medvlp.text.triplet_files import StudyTriplets

Stated = tuple[str, str, str, float]
PRESENT, UNCERTAIN, ABSENT, UNMENTIONED = 1.0, 0.5, 0.0, -1.0
_VALUE: dict[Presence, float] = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}
_SIDES = ("left", "right")


def stated_by_triplets(study: StudyTriplets) -> Iterator[Stated]:
    """Yield (finding, ``located_at``, place, value): 1 present, 0 absent, 1/2 uncertain.

    A place is its side and its name, joined by ``_``; what is on both sides is at two places.

    Example:
        >>> from medvlp.text.mention_triplets import of_report
        >>> list(stated_by_triplets(of_report("Bilateral effusions.", study_id="1")))[0]
        ('effusion', 'located_at', 'left_pleural_space', 1.0)
    """
    for each in study.triplets:
        triplet = each.triplet
        head, *modifiers = triplet.anatomy.split("|")  # RadGraph's places name their head first
        words = [word for word in modifiers if word not in _SIDES and word != "bilateral"] + head.split()
        sides = _SIDES if triplet.side == "bilateral" else (triplet.side,) if triplet.side in _SIDES else ("",)
        for side in sides:
            place = "_".join(word for word in (side, *words) if word)
            yield "_".join(triplet.observation.split()), "located_at", place, _VALUE[triplet.presence]


def stated_by_edges(report: RadGraphReport) -> Iterator[Stated]:
    """Yield every edge of a RadGraph report: ``modify``, ``located_at`` or ``suggestive_of``, as its source is stated.

    An anatomy is named with the anatomies that modify it, in their order: ``left_lower_lobe``.
    """
    entities = {entity.id: entity for entity in report.entities}

    def named(entity: Entity) -> str:
        def modifies(other: Entity) -> bool:
            return other.kind == "anatomy" and any(
                r.type == "modify" and r.target == entity.id for r in other.relations
            )

        before = [other.words for other in report.entities if entity.kind == "anatomy" and modifies(other)]
        return "_".join(" ".join([*before, entity.words]).lower().split())

    for entity in report.entities:
        for relation in entity.relations:
            yield named(entity), relation.type, named(entities[relation.target]), _VALUE[entity.presence]


def relation_matrix(stated: Iterable[Stated], labels: Sequence[str], predicates: Sequence[str]) -> Tensor:
    """Return (E, P, E) float32: the largest value stated of each triplet of known words, -1 where none is.

    Example:
        >>> stated = [("effusion", "located_at", "pleura", 1.0), ("effusion", "located_at", "moon", 1.0)]
        >>> relation_matrix(stated, ["effusion", "pleura"], ["located_at"])[:, 0].tolist()
        [[-1.0, 1.0], [-1.0, -1.0]]
    """
    entity = {label: place for place, label in enumerate(labels)}
    verb = {predicate: place for place, predicate in enumerate(predicates)}
    found = torch.full((len(entity), len(verb), len(entity)), UNMENTIONED)
    for subject, predicate, other, value in stated:
        if subject in entity and predicate in verb and other in entity:
            at = entity[subject], verb[predicate], entity[other]
            found[at] = max(float(found[at]), value)
    return found
