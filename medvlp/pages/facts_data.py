"""Facts of the data for reporting checklists: where it comes from, who is in it, how it was divided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medvlp.data.cards import DataCard, cards, load_card
from medvlp.evaluation.words import finding, integer, spoken
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.record import Cohort, Record

_POLICIES = {"u_ignore": "left out of their finding", "u_zeros": "counted as absent", "u_ones": "counted as present"}


def card_facts(record: Record | None) -> DataCard | None:
    """Return the data card of what was judged; None where there is none."""
    return load_card(record.data.card) if record is not None and record.data.card in cards() else None


def sets_named(record: Record) -> str:
    """Return the data sets of a record that has several, each with what it is: ``here (csv) and there (openi)``."""
    known = cards()
    named = []
    for name, facts in record.data.sets.items():
        layout = str(facts.get("layout", ""))
        what = load_card(layout).title if layout in known else layout or "a manifest"
        named.append(f"{name} ({what})")
    return spoken(named)


def data_facts(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    """Yield what is known of the data as a whole."""
    record, card = inputs.record, card_facts(inputs.record)
    policies = dict.fromkeys(row.policy for result in inputs.results for row in result.metrics if row.metric == "auroc")
    policy_words = [f"Uncertain labels are {_POLICIES[policy]}" for policy in policies if policy in _POLICIES]
    if policy_words:
        yield "missing", f"{policy_words[0]}; missing labels are left out of theirs."
    if card is not None:
        cite = f" {card.cite}." if card.cite else ""
        yield "data_source", f"{card.title}; access: {card.access}; licence: {card.licence}.{cite}"
    if record is not None and record.data.sets:
        yield "data_source", f"{len(record.data.sets)} data sets: {sets_named(record)}."
    if card is not None and card.name == "phantom":
        yield "design", "Simulated cases: neither prospective nor retrospective."
        yield "reference_standard", "Findings were planted by the simulation: the labels are exact by construction."
        yield "deidentification", "Nobody stands behind the data."
        yield "acquisition", "Radiographs are projected from a simulated chest; see its data card."
    if record is None:
        return
    conditions = [f"{finding(name)} {_values(value)}" for name, value in record.data.where.items()]
    yield (
        "eligibility",
        f"Records with {spoken(conditions)}." if conditions else "Every record of the data that could be read.",
    )
    made = record.data.split_made or {}
    counts = ", ".join(f"{part.name} {integer(part.records)}" for part in record.cohort.splits)
    how = f"By the rule {made['name']}" if made.get("name") else "As the data gives it"
    yield "partitions", f"{how}; records: {counts}." if counts else ""
    found = (record.data.leaks or {}).get("found")
    unit = f"Each {made['unit']} stands in one split." if made.get("unit") in ("patient", "study", "image") else ""
    searched = "The search for patients and files in two splits found nothing." if found == {} else ""
    yield (
        "disjoint",
        " ".join(part for part in (unit, searched, _apart((record.data.leaks or {}).get("model"))) if part),
    )
    trained = str(record.model.provenance.get("data", ""))
    if trained and trained == record.data.manifest:
        yield "internal", f"The {record.data.judged or 'judged'} split of the data that the model was trained on."
        yield "difference", f"Splits of one data set (hash {record.data.manifest}): none is known."
    left = sum(record.data.left_out.values())
    reasons = spoken([f"{integer(count)} {finding(reason)}" for reason, count in record.data.left_out.items()])
    out = f"left out: {reasons}" if left else "no record was left out"
    yield "flow", f"{counts} records; of the {record.data.judged or 'judged'} split {out}." if counts else ""


def cohort_facts(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    """Yield who is in the judged split."""
    if inputs.record is None:
        return
    cohort = inputs.record.cohort
    names = [part.name for part in cohort.splits]
    if inputs.record.data.judged not in names:
        return
    at = names.index(inputs.record.data.judged)
    sites = [value for value, counts in _rows(cohort, "site") if value is not None and counts[at]]
    if sites:
        yield (
            "setting",
            f"{integer(len(sites))} sites: {spoken(sites)}." if len(sites) > 1 else f"One site: {sites[0]}.",
        )
    marks = _counted(cohort, "deidentified", at)
    if marks:
        yield "deidentification", f"Records marked as de-identified: {marks}."
    seen = [f"{finding(name)}: {_counted(cohort, name, at)}" for name in ("view_position", "scanner")]
    seen = [words for words in seen if not words.endswith(": ")]
    if seen:
        yield "acquisition", f"{'; '.join(words[:1].upper() + words[1:] for words in seen)}."
    people = [f"sex {_counted(cohort, 'sex', at)}"] if _counted(cohort, "sex", at) else []
    for numbers in cohort.numbers:
        three = numbers.by_split[at]
        if numbers.name == "age" and three is not None:
            people.append(f"age median {three[1]:.0f} (half between {three[0]:.0f} and {three[2]:.0f})")
    if people:
        yield "demographics", f"Of the judged split {'; '.join(people)}; every split in its table."
        if len(names) > 1:
            yield "comparison", "The splits stand side by side."


def _apart(model: Mapping[str, Any] | None) -> str:
    """Return whether what is judged is apart from what the model was trained on, as its bundle knows it."""
    if model is None:
        return ""
    if model.get("known") != "all" or model["found"] or model["caveats"]:
        return " ".join(model["caveats"])
    near = ", nor a near copy of one," if model["near_images"] else ""
    known = [
        f"{integer(model[kind])} {word}"
        for kind, word in (("patients", "patients"), ("images", "files"))
        if model[kind]
    ]
    return (
        f"No judged patient or file{near} is among the {spoken(known) or 'records'} of the model's training and "
        "validation that its bundle knows."
    )


def _rows(cohort: Cohort, name: str) -> tuple[tuple[str | None, tuple[int, ...]], ...]:
    return next((category.rows for category in cohort.categories if category.name == name), ())


def _counted(cohort: Cohort, name: str, at: int) -> str:
    """Return ``"F 300, M 291"``."""
    return ", ".join(
        f"{value or 'not said'} {integer(counts[at])}" for value, counts in _rows(cohort, name) if counts[at]
    )


def _values(value: object) -> str:
    if isinstance(value, Mapping):
        return spoken([f"{key} {_values(each)}" for key, each in value.items()])
    return spoken([str(each) for each in value], last="or") if isinstance(value, list | tuple) else str(value)
