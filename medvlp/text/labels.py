"""A report -> the labels of a data set's vocabulary: 1 present, 0 absent, -1 uncertain, None not mentioned."""

from __future__ import annotations

from collections.abc import Iterable

from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import Label, Vocabulary, ancestors, vocabulary

__all__ = ["label_mentions", "label_report"]


def label_report(
    text: str, wanted: str | Vocabulary, *, sections: tuple[str, ...] = ("findings", "impression")
) -> dict[str, float | None]:
    """Return the labels of a report.

    Present beats uncertain beats absent; what is told as history or on condition counts as not mentioned.

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
    return label_mentions(read_report(text, sections=sections), chosen)


def label_mentions(mentions: Iterable[Mention], chosen: Vocabulary) -> dict[str, float | None]:
    """Return the labels that mentions give, see `label_report`."""
    said = [(mention.finding, _value(mention, chosen)) for mention in mentions]
    labels = {label.key: _label(label, said) for label in chosen.labels}
    for label in chosen.labels:
        if any(labels.get(key) == 1.0 for key in label.implied_by):
            labels[label.key] = 1.0
    if "no_finding" in labels:
        labels["no_finding"] = _no_finding(labels)
    return labels


def _value(mention: Mention, chosen: Vocabulary) -> float | None:
    if mention.presence == "uncertain":
        return 1.0 if mention.cue in chosen.certain else -1.0
    return {"present": 1.0, "absent": 0.0}.get(mention.presence)


def _label(label: Label, said: Iterable[tuple[str, float | None]]) -> float | None:
    counted = {label.key, *label.counts}
    values = {value for finding, value in said if value and counted & ancestors(finding)}
    denied = {finding for finding, value in said if value == 0.0}
    if 1.0 in values:
        return 1.0
    if -1.0 in values:
        return -1.0
    return 0.0 if denied & ancestors(label.key) or denied & set(label.counts) else None


def _no_finding(labels: dict[str, float | None]) -> float | None:
    """Return 1 where no label but support devices is present or uncertain (CheXpert, Irvin et al., AAAI 2019)."""
    others = [value for key, value in labels.items() if key not in ("no_finding", "support_devices")]
    return None if any(value in (1.0, -1.0) for value in others) else 1.0
