"""What is in each part of a split: records, patients, and the positives of each label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.data.manifest import Manifest

__all__ = ["PartFacts", "part_facts", "part_line", "part_table"]


@dataclass(frozen=True)
class PartFacts:
    """One part.

    Attributes:
        name: of the part; empty for records that stand in none.
        records: in it.
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
    """Count, in the order train, validate, test, others, none.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "split": ["test", "train"], "label.edema": [1, 0]}
        >>> [(part.name, part.positives) for part in part_facts(Manifest.of(columns, root=Path(".")))]
        [('train', {'edema': 0}), ('test', {'edema': 1})]
    """
    sides = np.array(["" if side is None else side for side in manifest.column("split")], dtype=object)
    order = {name: index for index, name in enumerate(("train", "validate", "test"))}
    names = sorted(set(sides), key=lambda name: (name == "", order.get(name, len(order)), name))
    labels = {name.removeprefix("label."): manifest.column(name) for name in manifest.names_of("label")}
    patients = manifest.column("id.patient") if "id.patient" in manifest else None
    return [
        PartFacts(
            name=name,
            records=int((sides == name).sum()),
            patients=None if patients is None else len(set(patients[sides == name]) - {None}),
            positives={label: int((values[sides == name] == 1).sum()) for label, values in labels.items()},
            known={label: int(np.isin(values[sides == name], (0, 1)).sum()) for label, values in labels.items()},
        )
        for name in names
    ]


def part_line(facts: list[PartFacts]) -> str:
    """Return records and patients of each part as one sentence; of train, validate and test also those without any.

    Example:
        >>> part_line([PartFacts("train", 10, 4, {}, {}), PartFacts("test", 3, 2, {}, {})])
        'Parts: train 10 records of 4 patients, validate no record, test 3 records of 2 patients.'
    """
    told = dict.fromkeys(("train", "validate", "test"), "no record")
    for part in facts:
        of = "" if part.patients is None else f" of {part.patients:,} patients"
        told[part.name or "in no part"] = f"{part.records:,} records{of}"
    return f"Parts: {', '.join(f'{name} {counts}' for name, counts in told.items())}."


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
