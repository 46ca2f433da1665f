"""A report -> the labels of a data set's vocabulary: 1 present, 0 absent, -1 uncertain, None not mentioned."""

from __future__ import annotations

from collections.abc import Iterable

from medvlp.text.language import is_blank, is_english
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import Vocabulary, ancestors, vocabulary
from medvlp.text.phrases import tokens_of


def label_report(text: str, wanted: str | Vocabulary) -> dict[str, float | None]:
    """Return the labels of a report, read in a vocabulary (or its name).

    Present beats uncertain beats absent; what is told as history or on condition counts as not mentioned. A report
    without text, or in another language than English (which warns), has no labels at all.

    Raises:
        ConfigError: if there is no vocabulary of that name.

    Example:
        >>> labels = label_report("Possible pneumonia. No pleural effusion.", "nih14")
        >>> labels["pneumonia"], labels["effusion"], labels["mass"]
        (-1.0, 0.0, None)
    """
    chosen = vocabulary(wanted) if isinstance(wanted, str) else wanted
    return report_labels(text, read_report(text), chosen)


def report_labels(text: str, mentions: Iterable[Mention], chosen: Vocabulary) -> dict[str, float | None]:
    """Return the labels of a report whose mentions are read already, see `label_report`.

    Example:
        >>> from medvlp.text.ontology import vocabulary
        >>> report_labels("", (), vocabulary("chexpert14"))["no_finding"] is None
        True
    """
    if is_blank(text) or not is_english(text):
        return dict.fromkeys(label.key for label in chosen.labels)
    return label_mentions(mentions, chosen)


def label_mentions(mentions: Iterable[Mention], chosen: Vocabulary) -> dict[str, float | None]:
    """Return the labels that the mentions of an English report give, see `label_report`."""
    read = tuple(mentions)
    counted = count_mentions(read, chosen)
    labels: dict[str, float | None] = {}
    for label in chosen.labels:
        given = {value for key, value, _ in counted if key == label.key}
        labels[label.key] = next((value for value in (1.0, -1.0, 0.0) if value in given), None)
    for label in chosen.labels:
        if any(labels[key] == 1.0 for key in label.implied_by if key in labels):
            labels[label.key] = 1.0
    if "no_finding" in labels:
        # 1 where no label but support devices is present or uncertain (CheXpert, Irvin et al., AAAI 2019).
        others = [value for key, value in labels.items() if key not in ("no_finding", "support_devices")]
        labels["no_finding"] = None if any(value in (1.0, -1.0) for value in others) else 1.0
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


def _value(mention: Mention, chosen: Vocabulary) -> float | None:
    if mention.presence == "uncertain":
        return 1.0 if chosen.certain.intersection(mention.cue.split()) else -1.0
    return {"present": 1.0, "absent": 0.0}.get(mention.presence)
