"""A report -> the labels of a data set's vocabulary: 1 present, 0 absent, -1 uncertain, None not mentioned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from medvlp.core.triplet import Presence, Side, Triplet
from medvlp.text.language import is_english
from medvlp.text.lexicon import word_class
from medvlp.text.mentions import NOT_ENGLISH, Mention, read_report
from medvlp.text.ontology import Finding, Vocabulary, ancestors, findings, vocabulary
from medvlp.text.phrases import tokens_of

__all__ = ["count_mentions", "label_mentions", "label_report", "label_triplets"]

_LOBES = {
    "upper lobe": "upper lobe",
    "middle lobe": "middle lobe",
    "lower lobe": "lower lobe",
    "lung base": "lower lobe",
    "lingula": "upper lobe",
}


def label_report(
    text: str, wanted: str | Vocabulary, *, sections: tuple[str, ...] = ("findings", "impression")
) -> dict[str, float | None]:
    """Return the labels of a report.

    Present beats uncertain beats absent; what is told as history or on condition counts as not mentioned. A report
    without text, or in another language than English (which warns), has no labels at all.

    Args:
        text: the whole report.
        wanted: vocabulary, or its name.
        sections: that are read, see `medvlp.text.mentions.read_report`.

    Raises:
        ConfigError: if there is no vocabulary of that name.

    Example:
        >>> labels = label_report("Possible pneumonia. No pleural effusion.", "nih14")
        >>> labels["pneumonia"], labels["effusion"], labels["mass"]
        (-1.0, 0.0, None)
    """
    chosen = vocabulary(wanted) if isinstance(wanted, str) else wanted
    if not text.strip():
        return dict.fromkeys(label.key for label in chosen.labels)
    if not is_english(text):
        warnings.warn(NOT_ENGLISH, stacklevel=2)
        return dict.fromkeys(label.key for label in chosen.labels)
    return label_mentions(read_report(text, sections=sections), chosen)


def label_mentions(mentions: Iterable[Mention], chosen: Vocabulary) -> dict[str, float | None]:
    """Return the labels that mentions give, see `label_report`."""
    read = tuple(mentions)
    counted = count_mentions(read, chosen)
    labels = {label.key: _strongest(value for key, value, _ in counted if key == label.key) for label in chosen.labels}
    for label in chosen.labels:
        if any(labels[key] == 1.0 for key in label.implied_by if key in labels):
            labels[label.key] = 1.0
    if "no_finding" in labels:
        labels["no_finding"] = _no_finding(labels)
        if chosen.whole and any(m.presence in ("present", "uncertain") and m.finding != "no_finding" for m in read):
            labels["no_finding"] = None
    return labels


def count_mentions(mentions: Iterable[Mention], chosen: Vocabulary) -> list[tuple[str, float, Mention]]:
    """Return (label, value, mention) for each mention that counts as a label, in the order of the text."""
    read = tuple(mentions)
    counted: list[tuple[str, float, Mention]] = []
    named: set[str] = set()
    for mention in read:
        value = _value(mention, chosen)
        if value is None:
            continue
        kinds = ancestors(mention.finding)
        words = {token.word for token in tokens_of(mention.text)}
        for label in chosen.labels:
            above = value == 0.0 and mention.finding in ancestors(label.key)  # no fracture: no rib fracture
            if (label.key in kinds or kinds.intersection(label.counts) or above) and not label.unless & words:
                counted.append((label.key, value, mention))
                named.add(mention.sentence)
    for mention in read:
        value = _value(mention, chosen)
        if value is not None and mention.sentence not in named:
            counted += [(label.key, value, mention) for label in chosen.labels if mention.finding in label.signs]
    return sorted(counted, key=lambda each: each[2].start)


def label_triplets(
    text: str, wanted: str | Vocabulary, *, sections: tuple[str, ...] = ("findings", "impression")
) -> tuple[Triplet, ...]:
    """Return the statements of a report about the labels of a vocabulary, each at its usual place.

    Unlike `medvlp.text.mentions.triplets` the observation is a label's key, the anatomy is the lobe, or else the place
    that the label's finding always has, and the side is that which the finding has when none is said (edema: both).

    Example:
        >>> label_triplets("Small effusion at the left base.", "nih14")[0].anatomy
        'pleural space'
    """
    chosen = vocabulary(wanted) if isinstance(wanted, str) else wanted
    words: dict[float, Presence] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
    found: dict[Triplet, None] = {}
    for key, value, mention in count_mentions(read_report(text, sections=sections), chosen):
        finding = findings().get(key, Finding(key, key, ""))
        movable = finding.anatomy in ("lung", "lungs", "")
        place = _LOBES.get(mention.anatomy, "") if movable else ""
        side: Side = mention.side if finding.sided else ""
        presence = words[value]
        was_there = presence != "absent" or not word_class("gone").isdisjoint(mention.cue.split())
        triplet = Triplet(
            anatomy=place or finding.anatomy,
            side=side or (finding.side if was_there else ""),
            observation=key,
            presence=presence,
            severity=mention.severity,
            sentence=mention.sentence,
        )
        found.setdefault(triplet)
    return tuple(found)


def _strongest(values: Iterable[float]) -> float | None:
    said = set(values)
    return next((value for value in (1.0, -1.0, 0.0) if value in said), None)


def _value(mention: Mention, chosen: Vocabulary) -> float | None:
    if mention.presence == "uncertain":
        return 1.0 if chosen.certain.intersection(mention.cue.split()) else -1.0
    return {"present": 1.0, "absent": 0.0}.get(mention.presence)


def _no_finding(labels: dict[str, float | None]) -> float | None:
    """Return 1 where no label but support devices is present or uncertain (CheXpert, Irvin et al., AAAI 2019)."""
    others = [value for key, value in labels.items() if key not in ("no_finding", "support_devices")]
    return None if any(value in (1.0, -1.0) for value in others) else 1.0
