"""Robustness at a glance: each axis along which a model may fail, beside its clean numbers; nothing is computed here.

The axes are those of a holistic evaluation (Tu et al. 2024): shift, corruption, calibration, out-of-distribution,
prompts, form against detail, and attacks. Each is read of a result that stands elsewhere on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.robustness.factors import LATERAL
from medvlp.evaluation.rows import headline_of, judged_rows, macro_of, mean_label, only, released_map
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
        >>> axes = holistic_axes([Result(name="shape_texture", metrics=(row,))])
        >>> [(each.name, each.row.value) for each in axes if each.row]
        [('Form or detail', 0.7)]
    """
    if not _NAMES & {result.name for result in results}:
        return []
    named, best = {result.name: result for result in results}, headline_of(results)
    robust, single = named.get("robustness"), named.get("prompt_sensitivity")
    shift = _lowest(best, "auroc_gap", "macro", where=lambda group: " & " not in group.partition("=")[0])
    corrupt = _lowest(robust, "auroc_difference", "macro", where=lambda group: not group.startswith(_UNLIKE))
    unlike = _lowest(robust, "flagged", "gate", where=lambda group: group.startswith(_UNLIKE))
    attack = _lowest(named.get("attacks"), "auroc_difference", "macro", where=lambda group: not _control(group))
    form = _lowest(named.get("shape_texture"), "shape_share", "micro")
    macro = None if best is None else only(best, "auroc", "macro")
    least = (macro.counts.min_positives if macro else None) or 1  # by few cases every prompt differs
    ranges = [row for row in (single.metrics if single else ()) if row.metric == "auroc_range"]
    ranges = [row for row in ranges if row.value is not None and (row.counts.positives or 0) >= least]
    spread = max(ranges, key=lambda row: row.value or 0.0, default=None)
    asked = "" if spread is None else spread.label
    sides = (_value(single, "auroc_median", asked), _value(single, "auroc_lowest", asked))
    flags = (_value(robust, "flagged", "gate"), None if unlike is None else unlike.value)
    flagged = f"the least flagged by the gate{_of(unlike)}".removesuffix(" 1")
    words = f"range of AUROC over single prompts, the widest: {finding(asked)}; median and lowest beside it"
    cues = "conflicts decided by coarse form and not by fine detail; 0.5 where neither prevails"
    few = "more patients with a finding"
    made = _clean(best, results)
    made += [
        _difference("Distribution shift", "macro AUROC against all others", shift, "subgroups", "evaluation.groups"),
        _difference(
            "Corruption", "macro AUROC, the worst", corrupt, "robustness", few if robust else "the measure robustness"
        ),
        _calibration(best),
        Axis("Out of distribution", flagged, unlike, *flags, "robustness", "a gate, and robustness with inversion"),
        Axis("Prompts", words, spread, *sides, how=few if single else "the measure prompt_sensitivity"),
        Axis("Form or detail", cues, form, how="the measure shape_texture"),
        _difference(
            "Attacks", "macro AUROC, the worst", attack, "", few if "attacks" in named else "the measure attacks"
        ),
    ]
    return made


def attack_rows(results: Sequence[Result]) -> list[AttackRow]:
    """Return the attacks in the order in which they were made, controls last."""
    rows = [row for result in results if result.name == "attacks" for row in result.metrics if row.group]
    found, mean = [], mean_label(rows, "auroc_difference")
    for group in dict.fromkeys(str(row.group) for row in rows):
        own = {(row.metric.partition("@")[0], row.label): row for row in rows if row.group == group}
        name, _, size = group.partition("=")
        found.append(
            AttackRow(
                name=finding(name) if _control(name) else name,
                size=size,
                control=_control(name),
                auroc=own.get(("auroc_difference", mean)),
                recall=own.get(("recall_difference", "image_to_report")),
                success=own.get(("attack_success", "micro")),
                flagged=own.get(("flagged", "gate")),
            )
        )
    return sorted(found, key=lambda each: each.control)


def _clean(best: Result | None, results: Sequence[Result]) -> list[Axis]:
    recalls = [row for result in results if (row := only(result, "recall@5", "image_to_report")) is not None]
    macro = None if best is None else macro_of(best)
    words = f"recall@5, {finding('image_to_report')}"
    found = [("macro AUROC", macro, "findings"), (words, recalls[0] if recalls else None, "retrieval")]
    return [Axis("As it is", what, row, place=place) for what, row, place in found if row is not None]


def _calibration(best: Result | None) -> Axis:
    own = judged_rows(row for row in (best.metrics if best else ()) if row.group is None)
    used = None if best is None else released_map(best, own)
    row = next((r for r in own if (r.metric, r.label, r.calibration) == ("ece", "macro", used)), None)
    words = f"expected calibration error, {map_words(used)}"
    return Axis("Calibration", words, row, place="calibration", how="a split to choose a calibration on")


def _lowest(
    result: Result | None, metric: str, label: str, *, where: Callable[[str], bool] = lambda group: True
) -> Metric | None:
    """Return the lowest of a metric over groups, or the one without a group where no group has it."""
    every = result.metrics if result else ()
    wanted = mean_label(every, metric) if label == "macro" else label
    rows = [r for r in every if (r.metric, r.label) == (metric, wanted)]
    rows = [row for row in rows if row.value is not None and where(row.group or "")]
    return min(rows, key=lambda row: (row.value or 0.0, row.group or ""), default=None)


def _value(result: Result | None, metric: str, label: str) -> float | None:
    row = None if result is None else only(result, metric, label)
    return None if row is None else row.value


def _difference(name: str, what: str, row: Metric | None, place: str, how: str) -> Axis:
    sides = (None, None) if row is None else (row.test.first, row.test.second)
    return Axis(name, what + _of(row), row, *sides, place, how)


def _of(row: Metric | None) -> str:
    return "" if row is None or row.group is None else f": {group_words(row.group)}"


def _control(group: str) -> bool:
    return group.startswith("random_signs")
