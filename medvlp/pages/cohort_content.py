"""What the page of a cohort says: counts against the card, pictures with their labels, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medvlp.core.randomness import numpy_generator
from medvlp.data.cards import DataCard
from medvlp.data.manifest import Manifest
from medvlp.data.readable import ReadableCohort
from medvlp.data.readable import left_out as listed_left_out
from medvlp.data.summary import CohortSummary
from medvlp.evaluation.words import finding
from medvlp.features.drawing import png_uri

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
    rows = []
    splits = {part.name for part in summary.splits}
    for count in card.counts if card is not None else ():
        if not count.split or count.split in splits:
            mask = manifest.column("split") == count.split if count.split else np.ones(len(manifest), bool)
            found = _found(count.what, manifest, mask)
            if found is not None:
                rows.append(Against(count.what.replace(":", ": "), count.split, count.value, found, count.source))
    return rows


def thumbs(looked: ReadableCohort | None) -> list[Thumb]:
    """Return the contact sheet: up to 32 readable pictures, always the same draw, in the order of the manifest."""
    if looked is None:
        return []
    manifest = looked.manifest
    # A picture that several records name is shown once, with the first of them.
    first: dict[int, int] = {}
    for places in looked.places.values():
        for index in np.flatnonzero(places >= 0).tolist():
            first.setdefault(int(places[index]), index)
    shown = sorted(set(first.values()))
    draw = numpy_generator(0, 0, "contact sheet")
    chosen = sorted(draw.choice(shown, size=min(_SHEET, len(shown)), replace=False).tolist()) if len(shown) else []
    return [_thumb(looked, manifest.record(index), index) for index in chosen]


def left_out(looked: ReadableCohort | None, manifest: Manifest) -> tuple[list[LeftOut], list[LeftOut]]:
    """Return what was quarantined and what the layout skipped, by reason; no record or path is named."""
    quarantined = looked.quarantined if looked is not None else ()
    hints = {entry.reason: entry.hint for entry in reversed(quarantined)}
    counts = Counter(entry.reason for entry in quarantined)
    return (
        [LeftOut(reason, count, hints[reason]) for reason, count in counts.most_common()],
        [LeftOut(reason.replace("_", " "), len(some), "") for reason, some in listed_left_out(manifest).items()],
    )


_VALUES = {"label": 1, "absent": 0, "uncertain": -1}
_DISTINCT = {"patients": ("id.patient",), "studies": ("id.study",)}
_WORDS = {"view": "view_position", "sex": "sex"}


def _found(what: str, manifest: Manifest, mask: np.ndarray) -> int | None:
    """Count in some records what a card counts, in its words (`medvlp.data.cards.Count`); None where none can tell."""
    kind, _, which = what.partition(":")
    if kind in _VALUES:
        name = f"label.{which}"
        return int((manifest.column(name)[mask] == _VALUES[kind]).sum()) if name in manifest else None
    if kind in _WORDS:
        name = _WORDS[kind]
        return int((manifest.column(name)[mask] == which).sum()) if name in manifest else None
    if kind == "boxes":
        names = [name for name in manifest.names_of("boxes") if not which or name == f"boxes.{which}"]
        found = [manifest.arrow(name).filter(pa.array(mask)) for name in names]
        return sum(len(boxes) for column in found for boxes in column.to_pylist() if boxes) if names else None
    names = _DISTINCT.get(what, manifest.names_of("image") if what == "images" else ())
    if what == "volumes":
        names = manifest.names_of("volume")
    if not names or names[0] not in manifest:
        return None
    return len({value for name in names for value in manifest.column(name)[mask] if value is not None})


def _thumb(looked: ReadableCohort, record: Mapping[str, object], index: int) -> Thumb:
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
