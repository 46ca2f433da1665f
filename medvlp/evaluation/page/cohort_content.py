"""What the page of a cohort says: counts against the card, pictures with their labels, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.data.cards import DataCard
from medvlp.data.manifest import Manifest
from medvlp.data.readable import Looked
from medvlp.data.summary import CohortSummary
from medvlp.evaluation.page.pictures import png_uri
from medvlp.evaluation.page.words import finding

__all__ = ["Against", "LeftOut", "Thumb", "against_card", "left_out", "shares", "thumbs"]

_SHEET = 32
_FEW = 4  # labels told under a picture


@dataclass(frozen=True, slots=True)
class Against:
    """A number of the card beside the number found."""

    what: str
    split: str
    card: int
    found: int
    source: str


@dataclass(frozen=True, slots=True)
class Thumb:
    """A picture of the contact sheet: data URI, size in pixels, its labels and its view."""

    uri: str
    width: int
    height: int
    labels: str
    uncertain: str
    note: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why something was left out, how often, and an example of how to mend it."""

    reason: str
    count: int
    hint: str


def shares(counts: Mapping[str, int], total: int) -> list[tuple[str, float, float]]:
    """Return (name, start, width) of the parts of a bar, in percent.

    Example:
        >>> shares({"present": 1, "absent": 3}, 4)
        [('present', 0.0, 25.0), ('absent', 25.0, 75.0)]
    """
    parts, at = [], 0.0
    for name, count in counts.items():
        width = 100 * count / total
        if count:
            parts.append((name, at, width))
        at += width
    return parts


def against_card(card: DataCard | None, manifest: Manifest, summary: CohortSummary) -> list[Against]:
    """Return each count of the card that the manifest can be asked for, beside what was found."""
    if card is None:
        return []
    labels = {counts.name: counts for counts in summary.labels}
    order = [part.name for part in summary.splits]
    rows = []
    for count in card.counts:
        if count.split and count.split not in order:
            continue
        part = summary.splits[order.index(count.split)] if count.split else summary.whole
        kind, _, label = count.what.partition(":")
        found: int | None = None
        if kind == "label" and label in labels:
            by_split = labels[label].by_split
            found = by_split[order.index(count.split)][0] if count.split else labels[label].present
        elif kind == "patients":
            found = part.patients
        elif kind == "studies":
            found = part.studies
        elif kind == "images":
            found = _images(manifest, count.split)
        if found is not None:
            rows.append(Against(count.what, count.split, count.value, found, count.source))
    return rows


def thumbs(looked: Looked | None, *, seed: int) -> list[Thumb]:
    """Return the contact sheet: up to 32 readable pictures drawn by seed, in the order of the manifest."""
    if looked is None:
        return []
    manifest = looked.manifest
    shown = np.flatnonzero(np.any([places >= 0 for places in looked.places.values()], axis=0)) if looked.places else []
    draw = numpy_generator(seed, 0, "contact sheet")
    chosen = sorted(draw.choice(shown, size=min(_SHEET, len(shown)), replace=False).tolist()) if len(shown) else []
    return [_thumb(looked, manifest.record(index), index) for index in chosen]


def left_out(looked: Looked | None, manifest: Manifest) -> tuple[list[LeftOut], list[LeftOut]]:
    """Return what was quarantined and what the layout skipped, by reason; no record or path is named."""
    quarantined = looked.quarantined if looked is not None else ()
    hints = {entry.reason: entry.hint for entry in reversed(quarantined)}
    counts = Counter(entry.reason for entry in quarantined)
    skipped = manifest.meta.get("skipped")
    listed = dict(skipped) if isinstance(skipped, Mapping) else {}
    listed |= {
        name: value for name, value in manifest.meta.items() if isinstance(value, list) and name != "quarantined"
    }
    return (
        [LeftOut(reason, count, hints[reason]) for reason, count in counts.most_common()],
        [
            LeftOut(str(reason).replace("_", " "), len(some), "")
            for reason, some in listed.items()
            if isinstance(some, list) and some
        ],
    )


def _images(manifest: Manifest, split: str) -> int | None:
    names = [name for kind in ("image", "volume", "stack") for name in manifest.names_of(kind)]
    if not names:
        return None
    rows = manifest.column("split") == split if split else np.ones(len(manifest), bool)
    return len({path for name in names for path in manifest.column(name)[rows] if path is not None})


def _thumb(looked: Looked, record: Mapping[str, object], index: int) -> Thumb:
    facts = looked.facts(index)[0]
    labels = {name.partition(".")[2]: value for name, value in record.items() if name.startswith("label.")}
    present = [name for name, value in labels.items() if value == 1]
    uncertain = [name for name, value in labels.items() if value == -1]
    none = "no label present" if labels else "no label said" if looked.manifest.names_of("label") else ""
    note = [str(record[name]) for name in ("view_position", "split") if name in record]
    return Thumb(
        uri=png_uri(facts.picture),
        width=facts.thumb_width,
        height=facts.thumb_height,
        labels=_some(present) or none,
        uncertain=_some(uncertain),
        note=", ".join(note),
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(finding(name) for name in names[:_FEW]) + more
