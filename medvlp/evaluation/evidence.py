"""What a bundle keeps of its own evaluation, so that who shows a number can show what stands behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from medvlp.evaluation.results import AVERAGES, Metric, Result

_VALUES = ("ppv", "npv")
_WHOLE = (*AVERAGES, "all", "reports")  # labels of rows over all findings, those that lead first


def evidence_of(result: Result, thresholds: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return finding -> n, base rate, AUROC with its interval, PPV and NPV at the first operating point, and the data.

    The numbers are those of the result's rows over everybody; a finding without an AUROC row is left out.

    Args:
        result: of an answer with scores.
        thresholds: findings whose thresholds the bundle holds; PPV and NPV of others are of calls that it never makes.

    Example:
        >>> from medvlp.evaluation.results import ConfidenceInterval, Counts
        >>> around, counts = ConfidenceInterval(low=0.7, high=0.9), Counts(n=100, positives=20, patients=90)
        >>> row = Metric(metric="auroc", label="edema", value=0.8, interval=around, counts=counts)
        >>> kept = evidence_of(Result(name="it", recipe="r", data="d", metrics=(row,), synthetic=True), [])["edema"]
        >>> kept["base_rate"], kept["auroc"], kept["ppv"], kept["data"]["synthetic"]
        (0.2, 0.8, None, True)
    """
    rows = [row for row in result.metrics if row.group is None and row.label not in AVERAGES]
    first = next((row.operating_point for row in rows if row.metric in _VALUES), None)
    called = {(row.metric, row.label): row for row in rows if row.operating_point == first and row.label in thresholds}
    data = {"hash": result.data, "split": "", "recipe": result.recipe, "synthetic": result.synthetic}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.metric == "auroc" and row.counts.positives is not None:
            entry = {
                "n": row.counts.n,
                "positives": row.counts.positives,
                "patients": row.counts.patients,
                "base_rate": row.counts.positives / row.counts.n if row.counts.n else None,
                "auroc": row.value,
                "low": row.interval.low,
                "high": row.interval.high,
                "level": row.interval.level,
                "method": row.interval.method,
                "interval": row.interval.form,
                "reason": row.reason,
                "operating_point": first if row.label in thresholds else None,
            }
            for name in _VALUES:
                entry |= _value(name, called.get((name, row.label)))
            found[row.label] = {**entry, "data": {**data, "split": row.split}}
    return found


def sentence_evidence(results: Iterable[Result]) -> dict[str, Any] | None:
    """Return what a bundle keeps of a sentence check that fitted something, with its AUROC rows; None where none did.

    Under ``evidence`` stands for each label of `medvlp.evaluation.sentence_check` its AUROC over all sentences, and
    over those of each kind of fact under ``LABEL/KIND``; likewise the two errors of its verdicts.
    """
    for result in results:
        if "sentences" in result.fitted:
            rows = [row for row in result.metrics if row.metric == "auroc" or row.label == "sentence_verdict"]
            names = [row.label if row.metric == "auroc" else row.metric for row in rows]
            kinds = ["" if row.group is None else f"/{row.group.partition('=')[2]}" for row in rows]
            names = [f"{name}{kind}" for name, kind in zip(names, kinds, strict=True)]
            evidence = {name: _parts(row) for name, row in zip(names, rows, strict=True)}
            facts = {"hash": result.data, "recipe": result.recipe, "synthetic": result.synthetic}
            return {**result.fitted["sentences"], "evidence": evidence, "data": facts}
    return None


def measured_of(results: Mapping[str, Result], answer: str) -> dict[str, Any] | None:
    """Return what a bundle keeps of an answer without scores; None where no number is over all findings.

    ``rows`` are the numbers over all findings, and the first says how good the answer is; ``over`` are its paired
    differences from controls; ``labels`` holds the same number of each finding, or the first where there is none, with
    its own differences (rows ``CONTROL/FINDING``) and, of masks, ``false_alarm``.

    Args:
        results: of an evaluation, by name.
        answer: its name, which is its result's.

    Example:
        >>> from medvlp.evaluation.report_text import evaluate_reports
        >>> found = evaluate_reports(["Edema."], ["Edema."], ["p"], seed=0, resamples=0, name="report")
        >>> kept = measured_of({"report": found}, "report")
        >>> [(row["metric"], row["label"], row["value"]) for row in kept["rows"][:1]]
        [('f1', 'micro', 1.0)]
    """
    result = results.get(answer)
    known = [] if result is None else [row for row in result.metrics if row.group is None and row.value is not None]
    whole = sorted((row for row in known if row.label in _WHOLE), key=lambda row: row.label == _WHOLE[-1])
    if result is None or not whole:
        return None
    name, at, which = whole[0].metric.partition("@")
    over = [row for row in known if row.metric == f"{name}_difference{at}{which}"]
    single = [row for row in known if row.label not in _WHOLE and "_difference" not in row.metric]
    single.sort(key=lambda row: row.metric != whole[0].metric)
    alarms = {row.label: {row.metric: _parts(row)} for row in single if row.metric == "false_alarm"}

    def against(finding: str) -> list[dict[str, Any]]:
        of = [(row, *row.label.partition("/")[::2]) for row in over]
        control = {name: results.get(f"{answer}_{name}") for _, name, _ in of}
        titles = {name: each.title.removeprefix("Control: ") if each else name for name, each in control.items()}
        return [{**_parts(row), "control": titles[name]} for row, name, own in of if own == finding]

    return {
        "title": result.title,
        "rows": [_parts(row) for row in whole],
        "over": against(""),
        "labels": {
            row.label: {**_parts(row), "over": against(row.label), **alarms.get(row.label, {})}
            for row in single
            if row.metric == single[0].metric
        },
        "data": {"hash": result.data, "recipe": result.recipe, "synthetic": result.synthetic},
    }


def _parts(row: Metric) -> dict[str, Any]:
    interval, counts = row.interval, row.counts
    low, high, method = interval.low, interval.high, interval.method
    found = {"value": row.value, "low": low, "high": high, "n": counts.n, "patients": counts.patients}
    return {"metric": row.metric, "label": row.label, **found, "method": method, "split": row.split}


def _value(name: str, row: Metric | None) -> dict[str, Any]:
    parts = (None, None, None) if row is None else (row.value, row.interval.low, row.interval.high)
    threshold = {} if row is None else {"threshold": row.threshold}
    return {**dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True)), **threshold}
