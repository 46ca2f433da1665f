"""What a reader sees first: one sentence, the numbers that matter most, and what to mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.rows import findings_of, headline_of, judged_rows, macro_of, of_a_ranking, only, released_map
from medvlp.evaluation.words import finding, group_words, integer, interval, map_words, name_of, number, p_value
from medvlp.pages.places import leading_rows
from medvlp.statistics.few import FEW, TOO_FEW
from medvlp.text.sentences import capital

_TOO_FEW = "too few patients for an interval"


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline number: what, value, its uncertainty, and what to compare it with."""

    name: str
    value: str
    uncertainty: str
    against: str


def summary_of(results: Sequence[Result]) -> str:
    """Return one sentence that says what was found, on how many, and against what.

    Example:
        >>> from medvlp.evaluation.results import ConfidenceInterval, Counts
        >>> around, counts = ConfidenceInterval(low=0.7, high=0.9), Counts(n=40, patients=30, labels_used=3)
        >>> row = Metric(metric="auroc", label="macro", value=0.8, interval=around, counts=counts, split="test")
        >>> summary_of([Result(name="findings", metrics=(row,))])
        'Findings: macro AUROC 0.800 (95 % interval 0.700 to 0.900) over 3 findings, on 40 test cases of 30 patients.'
    """
    best, retrieval = headline_of(results), _retrieval_headline(results)
    compared = _comparison_headline(results)
    if best is None and compared is not None:
        found, row = compared
        p = "" if row.test.p is None else f"; p {_equals(row.test.p)}"
        return (
            f"{found.title}: AUROC{' of the macro average' if row.label == 'macro' else f' of {finding(row.label)}'} "
            f"{number(row.test.second)} against {number(row.test.first)}, difference {_with_interval(row)}{p}, "
            f"on {integer(row.counts.n)} cases of {integer(row.counts.patients)} patients."
        )
    places = " ".join(
        f"{name_of(result.name, result.title)}: {metric} {_with_interval(row)}, "
        f"on {integer(row.counts.n)} cases of {integer(row.counts.patients)} patients."
        for result, metric, row in leading_rows(results)
    )
    if best is None:
        if retrieval is None:
            return places or "No result has a macro AUROC or a recall; the tables below show what there is."
        return f"{places} ".lstrip() + (
            f"{capital(finding(retrieval.label))} {retrieval.metric} is {_with_interval(retrieval)} over "
            f"{integer(retrieval.counts.n)} queries and a pool of {integer(retrieval.counts.pool)}; "
            f"a random ranking reaches {number(retrieval.chance)}."
        )
    row = only(best, "auroc", "macro")
    assert row is not None, "headline_of returns results with a row of it"
    split = f"{row.split} " if row.split else ""
    several = f"{row.counts.labels_used} finding{'s' if row.counts.labels_used != 1 else ''}"
    mean = f"macro AUROC {_with_interval(row)} over {several}"
    mean = mean if row.value is not None else "no macro AUROC (no finding has enough positive cases)"
    words = f"{name_of(best.name, best.title)}: {mean}, on {integer(row.counts.n)} {split}cases "
    words += f"of {integer(row.counts.patients)} patients"
    controls = [
        m.value for r in results if r.role == "control" if (m := macro_of(r)) is not None and m.value is not None
    ]
    if controls:
        strongest = max(controls)
        beaten = row.value is not None and strongest >= row.value
        words += f"; the {'strongest ' if len(controls) > 1 else ''}control reaches {number(strongest)}"
        words += ", which the model does not beat" if beaten else ""
    return f"{places} {words}.".lstrip()


def tiles_of(results: Sequence[Result]) -> list[Tile]:
    """Return the numbers that matter most, at most five.

    Masks, boxes, written reports and answers, overall, weakest finding and group, calibration, retrieval; what was not
    measured makes room for average precision and further models.
    """
    best = headline_of(results)
    made: list[Tile | None] = [
        _tile(f"{name_of(result.name, result.title)}: {metric}", row, f"n {integer(row.counts.n)}")
        for result, metric, row in leading_rows(results)
    ]
    if best is None:
        made.append(_difference_tile(results))
    else:
        made += [_macro_tile(best), _weakest_finding(best), _weakest_group(best), _calibration_tile(best)]
    made.append(_retrieval_tile(results))
    if best is not None:
        made.append(_precision_tile(best))
        made += [_macro_tile(result) for result in results if result.role == "model" and result is not best]
    return [tile for tile in made if tile is not None][:5]


def _tile(name: str, row: Metric, against: str) -> Tile:
    return Tile(name, number(row.value), interval(row), against + (f"; {_TOO_FEW}" if row.reason in TOO_FEW else ""))


def _macro_tile(result: Result) -> Tile | None:
    row = macro_of(result)
    if row is None:
        return None
    several = row.counts.labels_used != 1
    over = f"over {row.counts.labels_used} findings" if several else f"n {integer(row.counts.n)}"
    rare = "; optimistic, some are rare" if row.reason == "rare_findings" else ""
    name = f"{name_of(result.name, result.title)}: {'macro AUROC' if several else 'AUROC'}"
    return _tile(name, row, f"{over}; chance is 0.5{rare}")


def _weakest_finding(best: Result) -> Tile | None:
    everybody = only(best, "auroc", "macro")
    least = 1 if everybody is None else everybody.counts.min_positives or 1
    found = [row for label in findings_of(best) if (row := only(best, "auroc", label)) and row.value is not None]
    # A number of few cases is no headline: it may be anything.
    rows = [row for row in found if (row.counts.positives or 0) >= least and row.reason not in TOO_FEW]
    if len(rows) < 2:
        return None
    row = min(rows, key=lambda row: (row.value or 0.0, row.label))
    against = f"{integer(row.counts.positives)} positive of {integer(row.counts.n)}; chance is 0.5"
    return _tile(f"Weakest finding, {finding(row.label)}: AUROC", row, against)


def _weakest_group(best: Result) -> Tile | None:
    """Return the group furthest behind all others; without gaps the lowest of those averaged over everybody's findings.

    A mean over fewer findings may be higher or lower for that alone.
    """
    everybody, macro = macro_of(best), judged_rows(row for row in best.metrics if row.label == "macro" and row.group)
    macro = [row for row in macro if row.value is not None]
    gaps = [row for row in macro if row.metric == "auroc_gap" and " & " not in str(row.group).partition("=")[0]]
    if gaps:
        row = min(gaps, key=lambda row: (row.value or 0.0, str(row.group)))
        several = f"over {row.counts.labels_used} findings, " if (row.counts.labels_used or 1) > 1 else ""
        against = f"{several}{integer(row.counts.n)} cases; {number(row.test.second)} less {number(row.test.first)}"
        if row.test.first is None:
            against = f"{integer(row.counts.n)} cases; 0 is no gap"
        return _tile(f"{capital(group_words(row.group))}: AUROC less others'", row, against)
    alike = [
        row
        for row in macro
        if row.metric == "auroc" and everybody and row.counts.labels_used == everybody.counts.labels_used
    ]
    if not alike or everybody is None:
        return None
    row = min(alike, key=lambda row: (row.value or 0.0, str(row.group)))
    against = f"{integer(row.counts.n)} cases; everybody {number(everybody.value)}"
    return _tile(f"Weakest group, {group_words(row.group)}: macro AUROC", row, against)


def _calibration_tile(best: Result) -> Tile | None:
    own = judged_rows(row for row in best.metrics if row.group is None)
    used = released_map(best, own)
    rows = [row for row in own if (row.metric, row.label, row.calibration) == ("ece", "macro", used)]
    if used is None or not rows or rows[-1].value is None:
        return None
    return _tile("Calibration error, macro", rows[-1], f"{map_words(used)}; 0 is best")


def _precision_tile(best: Result) -> Tile | None:
    row = only(best, "average_precision", "macro")
    if row is None or row.value is None:
        return None
    return _tile("Macro average precision", row, f"a random ranking: {number(row.chance)}")


def _retrieval_tile(results: Sequence[Result]) -> Tile | None:
    row = _retrieval_headline(results)
    if row is None:
        return None
    ratio = row.value / row.chance if row.value and row.chance else 0.0
    times = f"{ratio:.{0 if ratio >= 3 else 1}f} times " if ratio else ""
    name = f"Recall@{row.metric.partition('@')[2]}, {finding(row.label)}"
    return _tile(name, row, f"{times}a random ranking ({number(row.chance)})")


def _difference_tile(results: Sequence[Result]) -> Tile | None:
    found = _comparison_headline(results)
    if found is None:
        return None
    row = found[1]
    label = "macro AUROC" if row.label == "macro" else f"AUROC of {finding(row.label)}"
    p = "" if row.test.p is None else f"; p {_equals(row.test.p)}"
    return _tile(f"Difference in {label}", row, f"{number(row.test.second)} less {number(row.test.first)}{p}")


def _retrieval_headline(results: Sequence[Result]) -> Metric | None:
    """Return recall at 5 (else the first k) of report -> image, on small groups where that was measured."""
    rows = [row for result in results for row in result.metrics if of_a_ranking(row) and row.value is not None]
    order = sorted(rows, key=lambda r: (r.label != "report_to_image", r.group is None, r.metric != "recall@5"))
    return order[0] if order else None


def _comparison_headline(results: Sequence[Result]) -> tuple[Result, Metric] | None:
    """Return the macro AUROC difference of the first comparison, else that of its first finding."""
    # Other results have differences of their own (a changed factor, a calibrated sentence): no headline.
    for result in (each for each in results if each.name == "comparison"):
        least = int(result.options.get("min_positives", 1))
        rows = [
            row
            for row in result.metrics
            if row.metric == "auroc_difference" and not row.group and row.value is not None
            if row.label == "macro" or ((row.counts.positives or 0) >= least and row.reason not in TOO_FEW)
        ]
        if rows:
            return result, next((row for row in rows if row.label == "macro"), rows[0])
    return None


def _with_interval(row: Metric) -> str:
    few = ", optimistic" if row.reason in FEW else ""
    around = f" ({row.interval.level * 100:g} % interval {interval(row)}{few})" if interval(row) else ""
    return number(row.value) + (f" ({_TOO_FEW})" if row.reason in TOO_FEW else around)


def _equals(p: float) -> str:
    words = p_value(p)
    return words.replace("<", "< ") if words.startswith("<") else f"= {words}"
