"""What was judged on what, in a few lines, and who is in the data, split by split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medvlp.evaluation.rows import findings_of, headline_of, only
from medvlp.evaluation.words import finding, integer, name_of, percent, spoken
from medvlp.pages.facts_data import card_facts, sets_named
from medvlp.pages.gate import GATE
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.record import Record


@dataclass(frozen=True, slots=True)
class CohortRow:
    """A row of the table of the cohort: name, one cell a split, and whether it begins a group of rows."""

    name: str
    cells: tuple[str, ...]
    heading: bool = False


def evaluation_facts(inputs: ReportInputs, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (what, words): model, data, cases, findings, and how intervals were made; only what is known."""
    record, best = inputs.record, headline_of(inputs.results)
    found: list[tuple[str, str]] = []
    if record is not None:
        size = f", {integer(record.model.parameters)} parameters" if record.model.parameters else ""
        technology = facts.get("technology", "").removeprefix("Deep learning: ").rstrip(".")
        found.append(("Model", f"{record.model.name}: {technology}{size}"))
    elif inputs.results:
        names = [name_of(each.name, each.title) for each in inputs.results if each.role == "model"]
        found.append(("Results", spoken(names[:6]) + (" and more" if len(names) > 6 else "")))
    card = card_facts(record)
    if record is not None:
        name = card.title if card is not None else record.data.layout or sets_named(record) or "a manifest"
        found.append(("Data", f"{name}, hash {record.data.manifest}"))
    elif inputs.results and inputs.results[0].data:
        found.append(("Data", f"hash {inputs.results[0].data}"))
    row = only(best, "auroc", "macro") if best is not None else None
    if best is not None and row is not None:
        split = f"split {row.split}: " if row.split else ""
        found.append(("Cases", f"{split}{integer(row.counts.n)} of {integer(row.counts.patients)} patients"))
        asked = [finding(label) for label in sorted(findings_of(best))]
        more = f" and {len(asked) - 14} more" if len(asked) > 14 else ""
        found.append(("Findings", f"{len(asked)}: {', '.join(asked[:14])}{more}"))
    shares = [row for result in inputs.results for row in result.metrics if row.metric == GATE]
    if shares:
        held = f"would hold back {integer(shares[0].counts.positives)} of {integer(shares[0].counts.n)} pictures"
        found.append(("Gate", f"{held} ({percent(shares[0].value)}) as unlike those of training"))
    elif record is not None and record.model.gate is False:
        found.append(("Gate", "none: pictures unlike those of training are scored too"))
    if facts.get("uncertainty"):
        found.append(("Intervals", facts["uncertainty"].rstrip(".")))
    return found


def cohort_rows(record: Record | None) -> tuple[tuple[str, ...], list[CohortRow]]:
    """Return the splits and the rows of the table of who is in the data; no rows where it is not known."""
    if record is None or not record.cohort.splits:
        return (), []
    return tuple(part.name for part in record.cohort.splits), list(_rows(record))


def _rows(record: Record) -> Iterator[CohortRow]:
    cohort = record.cohort
    yield CohortRow("Records", tuple(integer(part.records) for part in cohort.splits))
    for name, counts in (
        ("Patients", [part.patients for part in cohort.splits]),
        ("Studies", [part.studies for part in cohort.splits]),
    ):
        if any(count is not None for count in counts):
            yield CohortRow(name, tuple(integer(count) for count in counts))
    for numbers in cohort.numbers:
        cells = tuple("–" if q is None else f"{q[1]:.0f} ({q[0]:.0f} to {q[2]:.0f})" for q in numbers.by_split)
        yield CohortRow(f"{finding(numbers.name).capitalize()}, median (quartiles)", cells)
    totals = [part.records for part in cohort.splits]
    for category in cohort.categories:
        yield CohortRow(finding(category.name).capitalize(), (), heading=True)
        for value, counts in category.rows:
            yield CohortRow(value or "not said", tuple(map(_share, counts, totals)))
    if cohort.labels:
        yield CohortRow("Present, of those known", (), heading=True)
        for label in cohort.labels:
            yield CohortRow(finding(label.name), tuple(_share(*pair) for pair in label.by_split))


def _share(count: int, total: int) -> str:
    return f"{integer(count)} ({percent(count / total)})" if total else "–"
