"""What a check says besides leaks: notes, and what two data sets share, by their cards and by their images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medvlp.data.cards import cards, load_card
from medvlp.data.leakage.rows import Entry, Rows
from medvlp.data.spellings import spelling

ADVICE: Mapping[str, str] = {
    "patient": "Split by patient (`medvlp data split --rule patient`): all records of one then stand on one side.",
    "study": "Give all images of a study one side; splitting by patient does that too.",
    "image": "Keep one record of each image, or all of its records on one side: a table with several rows an image "
    "must be split by image, better by patient.",
    "near_image": "Look at the pairs; where they are one film, give both the side of the patient, or keep only one.",
    "report_text": "An abnormal report of this length is written once: look whether the two studies are one, and give "
    "them one side.",
    "shortcut": "Report scores within each value of the column, or balance the label over it, before believing them.",
    "overlap": "Do not train on one and test on the other; leave the shared records out of one of them.",
    "repeated_text": "Normal and short reports repeat everywhere; for retrieval count equal reports as one group.",
    "unreadable": "`medvlp data index` lists each with its reason.",
    "blank": "Look at these files; they should mostly be left out.",
    "unknown_patient": "Without `id.patient` only copies are found, not other images of the same patient.",
    "patient_spelling": "Where they are one person, write them in one way and split again.",
}
"""Kind of leak or note -> what to do."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know that is no leak.

    Attributes:
        text: one sentence, without report text or patients' names.
        facts: the numbers of the sentence, plain data.
    """

    kind: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)


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
        sentence = f"{name} shares patients or images with {', '.join(others)}, as the data cards say"
        sentence += f"; {', '.join(here)} is checked with it here." if here else "."
        notes.append(Note("overlap", sentence, {"data_set": name, "others": others, "here": here}))
    return notes


def spelling_notes(rows: Rows) -> list[Note]:
    """Return how many patients stand on several sides under names that differ as `medvlp.data.spellings` says."""
    names, sides = defaultdict(set), defaultdict(set)
    for who, side in set(zip(rows.patients, rows.splits, strict=True)):
        if who is not None and side is not None:
            key = (who[0], spelling(str(who[1])))
            names[key].add(who)
            sides[key].add(side)
    count = sum(len(names[key]) > 1 and len(sides[key]) > 1 for key in names)
    if not count:
        return []
    words = (
        "Patients on several sides under names that differ in blanks, case, Unicode form, leading zeros or a decimal "
        f"point alone: {count}."
    )
    return [Note("patient_spelling", words, {"patients": count})]


def shared_image_notes(rows: Rows, entries: Sequence[Entry], things: Sequence[str], names: Sequence[str]) -> list[Note]:
    """Return how many different images each two manifests have in common, whatever their sides.

    Args:
        things: one an entry, equal for equal images.
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
            f"{names[a]} and {names[b]} share images: {count}.",
            {"a": names[a], "b": names[b], "images": count},
        )
        for (a, b), count in sorted(counts.items())
    ]
