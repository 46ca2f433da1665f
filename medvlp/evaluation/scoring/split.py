"""One split of a predictions table, made ready: known rows by finding, patients, and rows of results to fill in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.evaluation.predictions import Group, KnownRows, groups_of, known_rows
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.statistics.bootstrap import Clusters, bootstrap, count_patients, patient_clusters
from medvlp.statistics.few import few_reason, mean_reason
from medvlp.statistics.metrics import FloatArray

Statistic = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Finding:
    """Known rows of one finding, packed.

    Attributes:
        name: of the finding.
        at: ``(n,)`` where these rows are in the split.
        truth: ``(n,)`` booleans.
        scores: ``(n,)``.
        patient: ``(n,)`` patient codes of the split.
        positives: positive rows.
        patients: different patients among the rows.
        few: flag of an interval that rests on few patients of a class.
    """

    name: str
    at: NDArray[np.int64]
    truth: NDArray[np.bool_]
    scores: FloatArray
    patient: NDArray[np.int64]
    positives: int
    patients: int
    few: str | None

    @property
    def reason(self) -> str | None:
        """Why no metric of both classes exists; None where they do."""
        if not len(self.truth):
            return "no_rows"
        if not self.positives:
            return "no_positives"
        return "no_negatives" if self.positives == len(self.truth) else None

    @property
    def smaller(self) -> int:
        """Patients in the class that has fewer."""
        return min(count_patients(self.patient[rows]) for rows in (self.truth, ~self.truth))

    def subset(self, rows: NDArray[np.bool_]) -> Finding:
        """Return the rows for which a mask ``(n,)`` is true."""
        return finding_of(self.name, self.at[rows], self.truth[rows], self.scores[rows], self.patient[rows])


@dataclass(frozen=True)
class SplitData:
    """The rows of one split.

    Attributes:
        name: of the split.
        findings: in column order.
        clusters: its patients, stratified by whether any finding is positive.
        groups: values of its group columns.
        options: of the statistics.
    """

    name: str
    findings: tuple[Finding, ...]
    clusters: Clusters
    groups: tuple[Group, ...]
    options: ScoreOptions

    def too_small(self, finding: Finding) -> bool:
        """Return whether rows of a group have too few patients of a class for any number."""
        classes = (count_patients(finding.patient[rows]) for rows in (finding.truth, ~finding.truth))
        return min(classes) < self.options.min_group

    def row(self, finding: Finding, metric: str, *, group: str | None = None) -> Metric:
        """Return a row with the counts of some rows and no value yet."""
        n = len(finding.truth)
        return Metric(
            metric=metric,
            label=finding.name,
            value=None,
            split=self.name,
            policy=self.options.policy,
            group=group,
            reason=finding.reason or finding.few,
            interval=ConfidenceInterval(level=self.options.level, method="none", form="none"),
            counts=Counts(
                n=n,
                positives=finding.positives,
                patients=finding.patients,
                prevalence=finding.positives / n if n else None,
            ),
        )

    def average_row(
        self, findings: Sequence[Finding], metric: str, label: str, *, among: Sequence[Finding] = ()
    ) -> Metric:
        """Return the row of an average over findings, without a value yet; over none it is of the rows of `among`."""
        inside = np.zeros(len(self.clusters.patient), bool)
        for finding in findings or among:
            inside[finding.at] = True
        n = sum(len(finding.at) for finding in findings) if label == "micro" else int(inside.sum())
        return Metric(
            metric=metric,
            label=label,
            value=None,
            split=self.name,
            policy=self.options.policy,
            reason=self._why(findings, among or self.findings),
            interval=ConfidenceInterval(level=self.options.level, method="none", form="none"),
            counts=Counts(
                n=n,
                positives=sum(finding.positives for finding in findings),
                patients=count_patients(self.clusters.patient[inside]),
                labels_used=len(findings),
                min_positives=self.options.min_positives if self.options.min_positives > 1 else None,
            ),
        )

    @staticmethod
    def _why(findings: Sequence[Finding], among: Sequence[Finding]) -> str | None:
        """Return what is to be known of an average, or why there is none."""
        if findings:
            return mean_reason([each.few for each in findings])
        return "none_large_enough" if any(each.reason is None for each in among) else "no_labels"

    def averaged(self) -> list[Finding]:
        """Return the findings that take part in an average."""
        least = self.options.min_positives
        return [each for each in self.findings if each.reason is None and each.positives >= least]

    def in_group(self, group: Group) -> list[tuple[str, Finding]]:
        """Return the rows of a group, with its name, of each finding that it divides."""
        return [(group.name, self._inside(each, group)) for each in self.findings if each.name in group.findings]

    def in_groups(self, finding: Finding) -> list[tuple[str, Finding]]:
        """Return the rows of a finding in each group that divides it."""
        return [(each.name, self._inside(finding, each)) for each in self.groups if finding.name in each.findings]

    def _inside(self, finding: Finding, group: Group) -> Finding:
        positive = np.zeros(len(self.clusters.patient), dtype=bool)
        positive[finding.at] = finding.truth
        return finding.subset(group.inside(positive)[finding.at])

    def draws(self, statistics: Sequence[Statistic], *, height: int = 1) -> list[FloatArray]:
        """Return several statistics of every resample, ``(resamples, K)`` each; empty where no resamples are wanted.

        Together, because making the resamples of a large cohort takes longer than most statistics.
        """
        widths = [statistic(np.ones((self.clusters.patients, 1))).shape[1] for statistic in statistics]
        if not self.options.resamples or not statistics:
            return [np.empty((0, width)) for width in widths]
        drawn = bootstrap(
            lambda weights: np.concatenate([statistic(weights) for statistic in statistics], axis=1),
            self.clusters,
            resamples=self.options.resamples,
            seed=self.options.seed,
            height=height,
        )
        return np.split(drawn, np.cumsum(widths)[:-1], axis=1)


def split_data(table: pd.DataFrame, findings: Sequence[str], *, name: str, options: ScoreOptions) -> SplitData:
    """Make a checked split ready.

    Args:
        table: its rows.
        findings: names.
        name: of the split.
        options: of the statistics.
    """
    parsed = [known_rows(table, finding, policy=options.policy) for finding in findings]
    any_positive = np.any([rows.positive for rows in parsed], axis=0)
    clusters = patient_clusters(table["patient_id"].astype(str), any_positive)
    packed = tuple(_packed(rows, clusters) for rows in parsed)
    return SplitData(name, packed, clusters, tuple(groups_of(table, findings)), options)


def average_weights(findings: Sequence[Finding], label: str) -> FloatArray:
    """Return the weights of findings in the ``macro`` or ``weighted`` average, summing to 1."""
    weights = np.array([1.0 if label == "macro" else float(each.positives) for each in findings])
    return weights / weights.sum()


def pooled(name: str, findings: Sequence[Finding]) -> Finding:
    """Return all rows of several findings as those of one."""
    parts = ((each.at, each.truth, each.scores, each.patient) for each in findings)
    return finding_of(name, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _packed(rows: KnownRows, clusters: Clusters) -> Finding:
    at = np.flatnonzero(rows.known)
    return finding_of(rows.finding, at, rows.positive[at], rows.scores[at], clusters.patient[at])


def finding_of(
    name: str, at: NDArray[np.int64], truth: NDArray[np.bool_], scores: FloatArray, patient: NDArray[np.int64]
) -> Finding:
    """Return rows, counted; arguments as of `Finding`."""
    few = few_reason(count_patients(patient[truth]), count_patients(patient[~truth]))
    return Finding(name, at, truth, scores, patient, int(truth.sum()), count_patients(patient), few)
