"""Robustness at a glance: each axis along which a model may fail, beside its clean numbers; nothing is computed here.

The axes are those of a holistic evaluation (Tu et al. 2024): shift, corruption, calibration, out-of-distribution,
prompts, form against detail, and attacks. Each is read of a result that stands elsewhere on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.robustness.factors import LATERAL
from medvlp.evaluation.rows import headline_of, macro_of, only, released_map
from medvlp.evaluation.words import finding, group_words, map_words

_UNLIKE = ("inversion", LATERAL)  # no corruptions: pictures that a gate should hold back
_NAMES = {"robustness", "shape_texture", "attacks"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the report.

    Attributes:
        name: of the axis.
        what: which number stands for it, in words.
        row: that number; None where it was not measured.
        clean: what it stands beside.
        changed: the other side of a difference.
        place: section of the page that has all of it.
        how: what measures it.
    """

    name: str
    what: str = ""
    row: Metric | None = None
    clean: float | None = None
    changed: float | None = None
    place: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class AttackRow:
    """An attack and its size, what it does to the macro AUROC and to recall, its success, and what the gate flags."""

    name: str
    size: str
    control: bool
    auroc: Metric | None
    recall: Metric | None
    success: Metric | None
    flagged: Metric | None


def holistic_axes(results: Sequence[Result]) -> list[Axis]:
    """Return all axes, each with the worst that was found along it; nothing where none of its own measures was made.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="shape_share", label="micro", value=0.7, counts=Counts(n=9, patients=9))
        >>> axes = holistic_axes([Result(name="shape_texture", recipe="", data="", metrics=(row,))])
        >>> [(each.name, each.row.value) for each in axes if each.row]
        [('Form or detail', 0.7)]
    """
    if not _NAMES & {result.name for result in results}:
        return []
    named = {result.name: result for result in results}
    best = headline_of(results)
    made: list[tuple[str, str, Callable[[], Axis | None]]] = [
        ("Distribution shift", "evaluation.groups, or several data sets", lambda: best and _shift(best)),
        ("Corruption", "the measure robustness", lambda: _corruption(named.get("robustness"))),
        ("Calibration", "a split to choose a calibration on", lambda: best and _calibration(best)),
        (
            "Out of distribution",
            "robustness with inversion and lateral, and a gate",
            lambda: _unlike(named.get("robustness")),
        ),
        ("Prompts", "the measure prompt_sensitivity", lambda: _prompts(named.get("prompt_sensitivity"))),
        ("Form or detail", "the measure shape_texture", lambda: _form(named.get("shape_texture"))),
        ("Attacks", "the measure attacks", lambda: _attacked(attack_rows(results))),
    ]
    return [*_clean(results), *(make() or Axis(name, how=how) for name, how, make in made)]


def attack_rows(results: Sequence[Result]) -> list[AttackRow]:
    """Return the attacks in the order in which they were made, controls last."""
    rows = [row for result in results if result.name == "attacks" for row in result.metrics if row.group]
    found = []
    for group in dict.fromkeys(str(row.group) for row in rows):
        own = {(row.metric.partition("@")[0], row.label): row for row in rows if row.group == group}
        name, _, size = group.partition("=")
        found.append(
            AttackRow(
                name=finding(name),
                size=size,
                control=name == "random_signs",
                auroc=own.get(("auroc_difference", "macro")),
                recall=own.get(("recall_difference", "image_to_report")),
                success=own.get(("attack_success", "micro")),
                flagged=own.get(("flagged", "gate")),
            )
        )
    return sorted(found, key=lambda each: each.control)


def _clean(results: Sequence[Result]) -> Iterator[Axis]:
    best = headline_of(results)
    macro = None if best is None else macro_of(best)
    if macro is not None:
        yield Axis("As it is", "macro AUROC", macro, place="findings")
    recalls = [row for result in results if (row := only(result, "recall@5", "image_to_report")) is not None]
    if recalls:
        yield Axis("As it is", f"recall@5, {finding('image_to_report')}", recalls[0], place="retrieval")


def _shift(best: Result) -> Axis | None:
    gaps = [r for r in best.metrics if (r.metric, r.label) == ("auroc_gap", "macro") and " & " not in str(r.group)]
    row = _lowest(gaps)
    return row and _difference(
        "Distribution shift", f"macro AUROC of {group_words(row.group)} against all others", row, "subgroups"
    )


def _corruption(robust: Result | None) -> Axis | None:
    rows = [] if robust is None else [r for r in robust.metrics if (r.metric, r.label) == ("auroc_difference", "macro")]
    rows = [row for row in rows if str(row.group).partition("=")[0] not in _UNLIKE]
    row = _lowest(rows)
    return row and _difference(
        "Corruption", f"macro AUROC, the worst of {len(rows)}: {group_words(row.group)}", row, "robustness"
    )


def _calibration(best: Result) -> Axis | None:
    own = [row for row in best.metrics if row.group is None and row.split not in ("train", "validate")]
    used = released_map(best, own)
    row = next((r for r in own if (r.metric, r.label, r.calibration) == ("ece", "macro", used)), None)
    return row and Axis("Calibration", f"expected calibration error, {map_words(used)}", row, place="calibration")


def _unlike(robust: Result | None) -> Axis | None:
    """Return the kind of unlike picture that the gate flags least, beside the share of plain ones."""
    if robust is None:
        return None
    rows = [r for r in robust.metrics if r.metric == "flagged" and str(r.group).partition("=")[0] in _UNLIKE]
    row, plain = _lowest(rows), only(robust, "flagged", "gate")
    if row is None:
        return None
    words = "lateral for frontal" if str(row.group).startswith(LATERAL) else "black and white swapped"
    return Axis(
        "Out of distribution", f"flagged by the gate, {words}", row, plain and plain.value, row.value, "robustness"
    )


def _prompts(single: Result | None) -> Axis | None:
    rows = [] if single is None else [r for r in single.metrics if r.metric == "auroc_range" and r.value is not None]
    if single is None or not rows:
        return None
    row = max(rows, key=lambda each: each.value or 0.0)
    middle, least = (only(single, name, row.label) for name in ("auroc_median", "auroc_lowest"))
    words = f"range of AUROC over single prompts, the widest: {finding(row.label)}; median and lowest"
    return Axis("Prompts", words, row, middle and middle.value, least and least.value, "run")


def _form(mixed: Result | None) -> Axis | None:
    row = None if mixed is None else only(mixed, "shape_share", "micro")
    words = "share of conflicts decided by coarse form and not by fine detail; 0.5 where neither prevails"
    return row and Axis("Form or detail", words, row, place="holistic")


def _attacked(rows: Sequence[AttackRow]) -> Axis | None:
    found = {row.auroc: row for row in rows if not row.control and row.auroc is not None}
    row = _lowest(list(found))
    return row and _difference(
        "Attacks", f"macro AUROC, the worst of {len(found)}: {found[row].name} {found[row].size}", row, "holistic"
    )


def _lowest(rows: Sequence[Metric]) -> Metric | None:
    known = [row for row in rows if row.value is not None]
    return min(known, key=lambda row: (row.value or 0.0, str(row.group))) if known else None


def _difference(name: str, what: str, row: Metric, place: str) -> Axis:
    return Axis(name, what, row, row.test.first, row.test.second, place)
