"""Written reports against reference reports by what they say, with our own reader and no network.

Words in common reward a fluent report that is wrong. Here both are read (`medvlp.text.mentions`) and their statements
are compared: findings (F1 of present, and of explicitly absent), side, measurements, and talk of a prior examination
where there is none. The reader errs too: the numbers compare reports under one reader and are no audit of either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.evaluation.metric_row import Draw, drawn_rows
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import Clusters, count_patients, patient_clusters
from medvlp.statistics.metrics import FloatArray
from medvlp.text.labels import report_labels
from medvlp.text.language import is_blank, is_english
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import Vocabulary, vocabulary

_EARLIER = r"(?:prior|previous)\s+(?:chest\s+)?(?:exam\w*|study|studies|radiograph\w*|film\w*|x-?rays?|imag\w+|ct)\b"
_PRIOR = re.compile(
    rf"\b(?:compar\w+ (?:to|with)(?! the (?:contralateral|opposite|other|left|right)\b)|{_EARLIER}"
    r"|previously (?:seen|noted|described|identified|reported|visuali[sz]ed|demonstrated|present)"
    r"|(?:since|than(?: on)?|relative to) (?:the )?(?:most recent )?(?:prior|previous|last)\b|in the interval"
    r"|interval (?:change|increase|decrease|development|improvement|worsening|resolution|clearing|removal|placement)"
    r"|(?:un|no (?:significant )?)chang(?:ed?)\b|ha(?:s|ve) (?:\w+ )?(?:resolved|cleared|been removed)"
    r"|again (?:seen|noted)|no longer (?:seen|visible|present|identified|evident))",
    re.IGNORECASE,
)

_NO_PRIOR = re.compile(
    rf"\b(?:no|without)\s+(?:(?:an?|any|relevant|available|recent)\s+)*{_EARLIER}"
    r"(?:\s+(?:(?:is|are|was|were)\s+)?available)?(?:\s+to\s+compare\s+(?:to|with)|\s+for\s+compar\w+)?"
    rf"|\b{_EARLIER}\s+(?:is|are|was|were)\s+(?:not\s+(?:\w+\s+)?|un)available",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ReportAgreement:
    """One written report against its reference.

    Attributes:
        present: label -> (said there by the reference, by the written report); uncertain counts by the policy.
        absent: label -> (denied by the reference, by the written report).
        sides: findings that both place on one side; how many.
        wrong_sides: of these, on different sides.
        sizes: findings that both measure.
        wrong_sizes: of these, measures further apart than 2 mm and 15 % of the reference's.
        invented_sizes: measures of the written report of findings that the reference does not measure.
        prior: the written report speaks of change or of a prior examination.
        prior_known: there is a prior, or the reference speaks of it.
    """

    present: dict[str, tuple[bool, bool]]
    absent: dict[str, tuple[bool, bool]]
    sides: int
    wrong_sides: int
    sizes: int
    wrong_sizes: int
    invented_sizes: int
    prior: bool
    prior_known: bool


def compare_reports(
    reference: str, written: str, wanted: str | Vocabulary = "chexpert14", *, has_prior: bool | None = None
) -> ReportAgreement:
    """Return what two reports of one study say alike and otherwise; "possible pneumonia" counts as pneumonia.

    A report without text, or in another language than English (which warns), says nothing: not even that all is well.

    Args:
        reference: by a radiologist.
        written: by whoever is judged.
        wanted: vocabulary of the findings, or its name.
        has_prior: whether there is an earlier examination; None asks the reference's words.

    Example:
        >>> found = compare_reports("Small left effusion.", "Small right effusion, unchanged.")
        >>> found.present["effusion"], (found.sides, found.wrong_sides), (found.prior, found.prior_known)
        ((True, True), (1, 1), (True, False))
    """
    chosen = vocabulary(wanted) if isinstance(wanted, str) else wanted
    ours, theirs = read_report(reference), read_report(written)
    labels = report_labels(reference, ours, chosen), report_labels(written, theirs, chosen)
    yes = (1.0, -1.0)
    present = {label.key: (labels[0][label.key] in yes, labels[1][label.key] in yes) for label in chosen.labels}
    absent = {label.key: (labels[0][label.key] == 0.0, labels[1][label.key] == 0.0) for label in chosen.labels}
    one, other = _sides(ours), _sides(theirs)
    both = [key for key in one if key in other]
    measured, claimed = _sizes(ours), _sizes(theirs)
    shared = [key for key in claimed if key in measured]
    limits = {key: max(2.0, 0.15 * max(measured[key])) for key in shared}
    # How far the measure that fits worst lies from the nearest of the reference.
    away = {key: max(min(abs(a - b) for a in measured[key]) for b in claimed[key]) for key in shared}
    wrong = [key for key in shared if away[key] > limits[key]]
    speaks_of_prior = _speaks_of_prior(reference, ours)
    return ReportAgreement(
        present=present,
        absent=absent,
        sides=len(both),
        wrong_sides=sum(one[key] != other[key] for key in both),
        sizes=len(shared),
        wrong_sizes=len(wrong),
        invented_sizes=len(claimed) - len(shared),
        prior=_speaks_of_prior(written, theirs),
        prior_known=speaks_of_prior if has_prior is None else has_prior,
    )


def evaluate_reports(
    references: Sequence[str],
    written: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    wanted: str | Vocabulary = "chexpert14",
    has_prior: Sequence[bool] | None = None,
    resamples: int = 1000,
    split: str = "",
    name: str = "report_text",
    title: str = "Report text, read by rules",
) -> Result:
    """Return finding-level F1 (a label, micro, macro; also of denials) and rates of errors, with patient intervals.

    ``side_error``: of findings that both reports place on one side, on the other one. ``measurement_error``: of
    findings that both measure, further apart than 2 mm and 15 %. ``invented_measurement``: reports with a measure that
    the reference lacks. ``prior_hallucination``: of studies without a prior, reports that speak of one.

    Args:
        references: (S,) reports by radiologists.
        written: (S,) reports that are judged.
        patients: (S,).
        name, title: of the `Result`, see there.
        wanted: vocabulary of the findings.
        has_prior: (S,) whether there is an earlier examination; None asks the references' words.
        resamples: of the bootstrap.
        split: written into the rows.

    Raises:
        DataError: if lengths disagree or there are no reports.

    Example:
        >>> found = evaluate_reports(["Left effusion."], ["Left effusion."], ["p"], seed=0, resamples=5)
        >>> found.find("f1", "effusion").value, found.find("side_error", "reports").value
        (1.0, 0.0)
    """
    count = len(references)
    if not count or not count == len(written) == len(patients) or (has_prior is not None and len(has_prior) != count):
        raise DataError(f"There are {count} references, {len(written)} reports, {len(patients)} patients: one a study.")
    priors = [None] * count if has_prior is None else [bool(each) for each in has_prior]
    texts = zip(references, written, priors, strict=True)
    found = [compare_reports(reference, said, wanted, has_prior=prior) for reference, said, prior in texts]
    labels = list(found[0].present)
    unread = sum(is_blank(text) or not is_english(text) for text in references)
    rates = {
        "side_error": [(each.wrong_sides, each.sides) for each in found],
        "measurement_error": [(each.wrong_sizes, each.sizes) for each in found],
        "invented_measurement": [(int(each.invented_sizes > 0), 1) for each in found],
        "prior_hallucination": [
            (int(each.prior and not each.prior_known), int(not each.prior_known)) for each in found
        ],
    }
    # Every number is a ratio of two sums over studies (F1 = 2 TP / (2 TP + FP + FN)), macro the mean of such ratios.
    top, bottom, names = [], [], []
    for metric, found_by_finding in (("f1", [e.present for e in found]), ("f1_absent", [e.absent for e in found])):
        for label in labels:
            pairs = [each[label] for each in found_by_finding]
            top.append([2.0 * (a and b) for a, b in pairs])
            bottom.append([float(a) + float(b) for a, b in pairs])
            names.append((metric, label))
    for metric, pairs in rates.items():
        top.append([float(a) for a, _ in pairs])
        bottom.append([float(b) for _, b in pairs])
        names.append((metric, "reports"))
    clusters = patient_clusters(np.asarray(patients, str))
    draw = partial(drawn_rows, clusters=clusters, seed=seed, resamples=resamples, height=count)
    return Result(
        name=name,
        metrics=_metrics(np.array(top), np.array(bottom), names, split, clusters, draw),
        cases=pd.DataFrame(
            {
                "patient_id": [str(each) for each in patients],
                **{f"said:{label}": [each.present[label][0] for each in found] for label in labels},
                **{f"wrote:{label}": [each.present[label][1] for each in found] for label in labels},
                **{metric: [a for a, _ in pairs] for metric, pairs in rates.items()},
            }
        ),
        title=title,
        caveats=(f"References that are no English text, of which nothing is read: {unread}.",) if unread else (),
    )


def _metrics(
    top: FloatArray, bottom: FloatArray, names: Sequence[tuple[str, str]], split: str, clusters: Clusters, draw: Draw
) -> tuple[Metric, ...]:
    kinds = ("f1", "f1_absent")
    rows = {kind: [i for i, (metric, _) in enumerate(names) if metric == kind] for kind in kinds}

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        above, below = top @ row, bottom @ row  # (K, B)
        with np.errstate(invalid="ignore", divide="ignore"):
            single = np.where(below > 0, above / below, np.nan)
            micro = [above[rows[k]].sum(axis=0) / below[rows[k]].sum(axis=0) for k in kinds]
        defined = {k: ~np.isnan(single[rows[k]]) for k in kinds}
        macro = [
            np.where(defined[k].any(axis=0), np.nansum(single[rows[k]], axis=0), np.nan)
            / np.maximum(defined[k].sum(axis=0), 1)
            for k in kinds
        ]
        return np.concatenate([single, np.stack(micro), np.stack(macro)]).T

    every = [*names, *((k, "micro") for k in kinds), *((k, "macro") for k in kinds)]
    found = []
    for at, (metric, label) in enumerate(every):
        there = bottom[at] > 0 if at < len(names) else np.ones(len(clusters.patient), bool)
        used = int((bottom[rows[metric]].sum(axis=1) > 0).sum()) if label == "macro" else None
        found.append(
            Metric(
                metric=metric,
                label=label,
                value=None,
                split=split,
                policy="u_ones",
                counts=Counts(n=int(there.sum()), patients=count_patients(clusters.patient[there]), labels_used=used),
            )
        )
    return tuple(draw(found, statistic))


def _sides(mentions: Sequence[Mention]) -> dict[str, str]:
    """Return finding -> side of what is present on one side only."""
    found = grouped((each.finding, each.side) for each in _there(mentions) if each.side)
    return {key: sides[0] for key, sides in found.items() if set(sides) in ({"left"}, {"right"})}


def _sizes(mentions: Sequence[Mention]) -> dict[str, list[float]]:
    return grouped((each.finding, each.size_mm) for each in _there(mentions) if each.size_mm is not None)


def _there(mentions: Sequence[Mention]) -> list[Mention]:
    return [mention for mention in mentions if mention.presence in ("present", "uncertain")]


def _speaks_of_prior(text: str, mentions: Sequence[Mention]) -> bool:
    """Return whether a report tells of change or of an earlier picture; that there is none is no talk of one."""
    return any(mention.change for mention in mentions) or _PRIOR.search(_NO_PRIOR.sub(".", text)) is not None


def f1_difference(
    one: Result, other: Result, patients: Sequence[str], *, label: str, seed: int, resamples: int
) -> Metric:
    """Return micro F1 of one result less that of another, paired: each resample draws the same patients for both.

    Args:
        one: of `medvlp.evaluation.report_text.evaluate_reports`.
        other: of the same studies in the same order.
        patients: (S,) of the studies.
        label: of the row: who the other is.
        resamples: over patients.

    Example:
        >>> from functools import partial
        >>> scored = partial(evaluate_reports, ["Effusion.", "Edema."], patients=["p", "q"], seed=0, resamples=0)
        >>> right, wrong = scored(written=["Effusion.", "Edema."]), scored(written=["Edema.", "Effusion."])
        >>> f1_difference(right, wrong, ["p", "q"], label="swapped", seed=0, resamples=20).value
        1.0
    """
    clusters = patient_clusters(np.asarray(patients).astype(str))
    sides = [_sums(result) for result in (one, other)]

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        f1 = []
        for top, bottom in sides:
            below = bottom @ row
            f1.append(np.where(below > 0, top @ row / np.where(below > 0, below, 1.0), np.nan))
        return (f1[0] - f1[1])[:, None]

    row = Metric(
        metric="f1_difference",
        label=label,
        value=None,
        split=one.metrics[0].split,
        policy=one.metrics[0].policy,
        counts=Counts(n=len(patients), patients=clusters.patients),
    )
    return drawn_rows([row], statistic, clusters, seed=seed, resamples=resamples, height=len(patients))[0]


def _sums(result: Result) -> tuple[FloatArray, FloatArray]:
    """Return (S,) 2 TP and 2 TP + FP + FN of each study."""
    cases = result.cases
    assert cases is not None, "evaluate_reports keeps its cases"
    names = [[name for name in cases.columns if name.startswith(prefix)] for prefix in ("said:", "wrote:")]
    found_by_finding, wrote = (cases[some].to_numpy(dtype=float) for some in names)
    return 2 * (found_by_finding * wrote).sum(axis=1), found_by_finding.sum(axis=1) + wrote.sum(axis=1)
