"""What two data sets share: told by their cards, and counted where the images are at hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from medvlp.data.cards import cards, load_card
from medvlp.data.leakage.notes import Note
from medvlp.data.leakage.rows import Entry, Rows

__all__ = ["card_notes", "shared_image_notes"]


def card_notes(rows: Rows) -> list[Note]:
    """Return a note for each data set that, as its card or the other's says, shares patients or images with another."""
    there = set(cards())
    known = [name for name in dict.fromkeys(str(m.meta.get("layout", "")) for m in rows.manifests) if name in there]
    linked = {name: set(load_card(name).overlaps) for name in there}
    notes = []
    for name in known:
        others = sorted(linked[name] | {other for other in there if name in linked[other]})
        if not others:
            continue
        here = [other for other in others if other in known]
        told = f"{name} shares patients or images with {', '.join(others)}, as the data cards say"
        told += f"; {', '.join(here)} is checked with it here." if here else "."
        notes.append(Note("overlap", told, {"data_set": name, "others": others, "here": here}))
    return notes


def shared_image_notes(rows: Rows, entries: Sequence[Entry], things: Sequence[str], names: Sequence[str]) -> list[Note]:
    """Return how many different images each two manifests have in common, whatever their sides.

    Args:
        rows: all rows.
        entries: their files.
        things: one an entry, equal for equal images.
        names: of the manifests.
    """
    where: dict[str, set[int]] = defaultdict(set)
    for entry, thing in zip(entries, things, strict=True):
        where[thing].add(int(rows.sets[entry.row]))
    counts: Counter[tuple[int, int]] = Counter()
    for sets in where.values():
        numbers = sorted(sets)
        counts.update((a, b) for at, a in enumerate(numbers) for b in numbers[at + 1 :])
    return [
        Note(
            "overlap",
            f"{names[a]} and {names[b]} have {count} images in common.",
            {"a": names[a], "b": names[b], "images": count},
        )
        for (a, b), count in sorted(counts.items())
    ]
