"""Mentions of medvlp's own reader -> triplets of a study."""

from __future__ import annotations

from collections.abc import Iterable

from medvlp.core.triplet import Triplet
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import findings
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets

__all__ = ["of_mentions", "of_report"]


def of_report(
    text: str, *, study_id: str, subject_id: str = "", sections: tuple[str, ...] = ("findings", "impression")
) -> StudyTriplets:
    """Read a report by medvlp's rules.

    Example:
        >>> study = of_report("Small left pleural effusion. History of pneumonia.", study_id="s1")
        >>> [(each.triplet.observation, each.triplet.side, each.triplet.presence) for each in study.triplets]
        [('effusion', 'left', 'present')]
    """
    return of_mentions(read_report(text, sections=sections), study_id=study_id, subject_id=subject_id)


def of_mentions(mentions: Iterable[Mention], *, study_id: str, subject_id: str = "") -> StudyTriplets:
    """Turn mentions into triplets, each once.

    What is history or a condition states nothing of the image and is left out. An anatomy that the words do not name is
    the finding's own. Modifiers are the change ("new", "stable" ...), the size and the count, where they are said.
    """
    stated = []
    for mention in mentions:
        presence = mention.presence
        if presence == "historical" or presence == "conditional":
            continue
        size = "" if mention.size_mm is None else f"{mention.size_mm:g} mm"
        count = "" if mention.count is None else f"{mention.count}"
        triplet = Triplet(
            anatomy=mention.anatomy or findings()[mention.finding].anatomy,
            side=mention.side,
            observation=mention.finding,
            presence=presence,
            severity=mention.severity,
            sentence=mention.sentence,
        )
        stated.append(StatedTriplet(triplet, tuple(filter(None, (mention.change, size, count)))))
    return StudyTriplets(study_id, subject_id, "rules", tuple(dict.fromkeys(stated)))
