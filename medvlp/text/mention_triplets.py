"""Mentions of medvlp's own reader -> triplets of a study, in the words of the ontology or of a data set's labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from medvlp.core.triplet import Presence, Side, Triplet
from medvlp.text.labels import count_mentions
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import Vocabulary, findings
from medvlp.text.ontology import vocabulary as vocabulary_named
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets

_PRESENCE: dict[float, Presence] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}


def of_report(
    text: str, *, study_id: str, subject_id: str = "", sections: tuple[str, ...] = ("findings", "impression"),
    vocabulary: str | Vocabulary | None = None,
) -> StudyTriplets:  # fmt: skip
    """Read a report by medvlp's rules, see `of_mentions` and `medvlp.text.mentions.read_report`.

    Raises:
        ConfigError: if there is no vocabulary of that name.
    """
    mentions = read_report(text, sections=sections)
    return of_mentions(mentions, study_id=study_id, subject_id=subject_id, vocabulary=vocabulary)


def of_mentions(
    mentions: Iterable[Mention], *, study_id: str, subject_id: str = "", vocabulary: str | Vocabulary | None = None
) -> StudyTriplets:
    """Turn mentions into triplets, each once.

    What is history or a condition states nothing of the image and is left out. An anatomy that the words do not name is
    the finding's own. Modifiers are the change ("new", "stable" ...), the size and the count, where they are said.

    In a vocabulary's words, mentions that count as none of its labels are left out, and what a sentence says of one
    label on one side is one triplet: a sign and its reading ("left basal opacity, likely pneumonia") share the place
    and the certainty of the more certain one.
    """
    if vocabulary is None:
        stated = [
            _stated(mention, mention.finding, mention.presence)
            for mention in mentions
            if mention.presence != "historical" and mention.presence != "conditional"
        ]
    else:
        chosen = vocabulary_named(vocabulary) if isinstance(vocabulary, str) else vocabulary
        stated = list(_counted(tuple(mentions), chosen))
    return StudyTriplets(study_id, subject_id, "rules", tuple(dict.fromkeys(stated)))


def _counted(mentions: Sequence[Mention], chosen: Vocabulary) -> Iterator[StatedTriplet]:
    groups: dict[tuple[str, str, bool], list[tuple[float, Mention]]] = {}
    for label, value, mention in count_mentions(mentions, chosen):
        groups.setdefault((mention.sentence, label, value == 0.0), []).append((value, mention))
    for (_, label, _), group in groups.items():
        group.sort(key=lambda each: each[1].finding != label)  # stable: the one that names the label first
        sides = dict.fromkeys(mention.side for _, mention in group if mention.side)
        for side in sides or ("",):
            members = [(value, mention) for value, mention in group if mention.side in (side, "")]
            presence = _PRESENCE[max(value for value, _ in members)]
            yield _stated(_joined([mention for _, mention in members], side), label, presence)


def _joined(mentions: Sequence[Mention], side: Side) -> Mention:
    """Return the first mention, with what it leaves out and another says."""
    found: dict[str, Any] = {
        name: next((value for each in mentions if (value := getattr(each, name)) not in ("", None)), empty)
        for name, empty in (("anatomy", ""), ("severity", ""), ("change", ""), ("size_mm", None), ("count", None))
    }
    return replace(mentions[0], side=side, **found)


def _stated(mention: Mention, observation: str, presence: Presence) -> StatedTriplet:
    size = "" if mention.size_mm is None else f"{mention.size_mm:g} mm"
    count = "" if mention.count is None else f"{mention.count}"
    anatomy = mention.anatomy or findings()[observation].anatomy
    triplet = Triplet(anatomy, mention.side, observation, presence, mention.severity, mention.sentence)
    return StatedTriplet(triplet, tuple(filter(None, (mention.change, size, count))))
