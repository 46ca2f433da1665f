"""What is in each part of a split: records, patients, and the positives of each label."""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.data.manifest import Manifest
from medvlp.data.summary import NO_SPLIT, summarise


@dataclass(frozen=True)
class PartFacts:
    """Counts of one part of a split.

    Attributes:
        name: of the part; empty for records that stand in none.
        patients: among them; None where the manifest does not know patients.
        positives: finding -> records with it.
        known: finding -> records that say present or absent.
    """

    name: str
    records: int
    patients: int | None
    positives: dict[str, int]
    known: dict[str, int]


def part_facts(manifest: Manifest) -> list[PartFacts]:
    """Count, in the order train, validate, test, others, none."""
    summary = summarise(manifest)
    return [
        PartFacts(
            name="" if part.name == NO_SPLIT else part.name,
            records=part.records,
            patients=part.patients,
            positives={label.name: label.by_split[place][0] for label in summary.labels},
            known={label.name: label.by_split[place][1] for label in summary.labels},
        )
        for place, part in enumerate(summary.splits)
    ]


def part_line(facts: list[PartFacts]) -> str:
    """Return records and patients of each part as one sentence; of train, validate and test also those without any.

    Example:
        >>> part_line([PartFacts("train", 10, 4, {}, {}), PartFacts("test", 3, 2, {}, {})])
        'Parts: train 10 records of 4 patients, validate no record, test 3 records of 2 patients.'
    """
    counts = dict.fromkeys(("train", "validate", "test"), "no record")
    for part in facts:
        of = "" if part.patients is None else f" of {part.patients:,} patients"
        counts[part.name or "in no part"] = f"{part.records:,} records{of}"
    return f"Parts: {', '.join(f'{name} {count}' for name, count in counts.items())}."


def part_table(facts: list[PartFacts]) -> str:
    """Return the counts as lines of text: a column a part; positives with their share of the known.

    Example:
        >>> print(part_table([PartFacts("train", 10, 4, {"edema": 1}, {"edema": 5})]))
                    train
        records        10
        patients        4
        edema     1 (20%)
    """
    rows = [["", *(part.name or "(none)" for part in facts)], ["records", *(f"{part.records:,}" for part in facts)]]
    if all(part.patients is not None for part in facts):
        rows.append(["patients", *(f"{part.patients:,}" for part in facts)])
    for label in facts[0].positives if facts else ():
        cells = [(part.positives[label], part.known[label]) for part in facts]
        rows.append([label, *(f"{n:,} ({_percent(n / known)})" if known else f"{n:,}" for n, known in cells)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%" if value >= 0.1 or value == 0 else f"{100 * value:.1f}%"
