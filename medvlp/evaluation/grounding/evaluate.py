"""Grounding of many cases: per finding, pooled, by the size of the region, with intervals over patients.

A case whose finding has no region (it was looked for and is not there) asks the other question: does the map stay dark?
Its strongest value is compared with those of the cases that have a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.map import Scale
from medvlp.evaluation.grounding.box_ap import Detections, box_average_precision, boxes_of_map, boxes_of_region, match
from medvlp.evaluation.grounding.case import Case
from medvlp.evaluation.grounding.measures import THRESHOLDS, measure
from medvlp.evaluation.metric_row import drawn_rows
from medvlp.evaluation.results import Counts, Metric, Result, Role
from medvlp.statistics.bootstrap import Clusters, patient_clusters
from medvlp.statistics.few import FEW_PATIENTS, few_reason
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError
from medvlp.statistics.operating_points import fit_operating_point, parse_rule
from medvlp.statistics.ranked import rank_rows

AREAS = (("<2%", 0.0, 0.02), ("2-8%", 0.02, 0.08), (">8%", 0.08, 1.1))
"""Shares of the picture that a region covers: fixed, so that two data sets speak of the same sizes."""

_IOUS = (0.1, 0.3, 0.4, 0.5)
_MEANS = (
    ["pointing_game", "grid_ceiling", "pointing_game_15px"]
    + [f"{name}@{threshold:g}" for name in ("iou", "dice") for threshold in THRESHOLDS]
    + ["mean_iou", "mean_dice", "cnr", "cnr_signed"]
)


def evaluate_grounding(
    cases: Iterable[Case],
    *,
    scale: Scale,
    seed: int,
    resamples: int = 2000,
    min_positives: int = 30,
    thresholds: Mapping[str, float] | None = None,
    split: str = "",
    name: str = "grounding",
    title: str = "",
    role: Role = "model",
    caveats: tuple[str, ...] = (),
) -> Result:
    """Measure maps against regions, all in pixels of the source.

    Args:
        cases: one at a time; none is kept.
        scale: how thresholds read the map's values, see `measure`.
        name, title: of the `Result`, see there.
        resamples: over patients; 0 for no intervals.
        min_positives: cases with a region that a finding needs to take part in the macro average.
        thresholds: finding -> strongest value from which on the finding is said to be there, fitted on other cases
            (`youden_threshold`): gives sensitivity and zero-region specificity at ``youden_validate``.
        split: written into the rows.
        role: ``"control"`` for a baseline.
        caveats: of the result.

    Raises:
        DataError: for no case with a region.

    Example:
        >>> case = Case(id="a", patient="p", finding="mass", values=np.array([[0.0, 1.0], [0.0, 0.0]]), size=(8, 8),
        ...             view=(0, 0, 8, 8), boxes=((4, 0, 8, 4),))
        >>> found = evaluate_grounding([case], scale="peak", seed=0, resamples=20)
        >>> found.find("pointing_game", "all").value, found.find("pointing_game", "all").chance
        (1.0, 0.25)
    """
    table = measure_cases(cases, scale=scale)
    make = GroundingRows(scale=scale, seed=seed, resamples=resamples, split=split)
    rows = make.all(table, thresholds or {}, min_positives)
    return Result(
        name=name, metrics=tuple(rows), cases=table.assign(split=split), role=role, title=title, caveats=caveats
    )


def measure_cases(cases: Iterable[Case], *, scale: Scale) -> pd.DataFrame:
    """Return one row a case: what `GroundingRows` makes every number of, so that it can be made again."""
    rows = []
    for case in cases:
        truths, predicted = boxes_of_region(case), boxes_of_map(case)
        evidence = case.evidence
        row: dict[str, object] = {
            "id": case.id,
            "patient_id": case.patient,
            "finding": case.finding,
            "present": case.present,
            "area": float(case.region.mean()),
            "peak": float(np.nanmax(evidence)) if not np.isnan(evidence).all() else float(case.values.min()),
            "truths": len(truths),
            "box_scores": [score for score, _ in predicted],
        }
        row |= {f"box_hits@{iou:g}": match(predicted, truths, iou=iou) for iou in _IOUS}
        row |= dict.fromkeys(_MEANS, np.nan) | (dict(measure(case, scale=scale)) if case.present else {})
        rows.append(row)
    if not any(row["present"] for row in rows):
        raise DataError("No case has a region to be found: give boxes or masks of at least one picture.")
    return pd.DataFrame(rows)


def youden_threshold(peaks: FloatArray, present: NDArray[np.bool_]) -> float | None:
    """Return the value with the largest sensitivity + specificity; None where one of the two is not defined.

    It is that of the rule ``youden`` of `medvlp.statistics.operating_points`.

    Example:
        >>> youden_threshold(np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, False, True, True]))
        0.4
    """
    try:
        return fit_operating_point(present, peaks, parse_rule("youden")).threshold
    except UndefinedMetricError:
        return None


class GroundingRows:
    """Rows of a table of `measure_cases` and of its subsets, all made alike."""

    def __init__(self, *, scale: Scale, seed: int, resamples: int, split: str) -> None:
        self.scale, self.seed, self.resamples, self.split = scale, seed, resamples, split

    def all(self, table: pd.DataFrame, thresholds: Mapping[str, float], min_positives: int) -> list[Metric]:
        """Return the rows per finding, ``macro``, ``all`` pooled; those also by area."""
        finding = table["finding"].astype(str)
        cut = finding.map(thresholds).astype(float).to_numpy()
        called = np.where(np.isnan(cut), np.nan, table["peak"].to_numpy() >= cut)
        table = table.assign(_called=called)
        rows = []
        for label in sorted(set(finding)):
            some = table[finding == label]
            rows += self.of(some, label) + self.by_area(some, label)
        rows += self.of(table, "all") + self.by_area(table, "all")
        counts = table[table["present"]].groupby("finding").size()
        enough = sorted(counts.index[counts >= min_positives])
        if enough:
            rows += self.macro(table[finding.isin(enough)], enough, min_positives)
        return rows

    def of(self, table: pd.DataFrame, label: str, group: str | None = None) -> list[Metric]:
        """Return all rows of one subset, none where it is empty."""
        if not table["present"].any():
            return []
        clusters = patient_clusters(table["patient_id"].astype(str), table["present"])
        names, statistic = self._statistic(table, clusters, dark=group is None)
        return self._rows(table, label, names, statistic, clusters, group)

    def by_area(self, table: pd.DataFrame, label: str) -> list[Metric]:
        """Return the rows of cases with a region, by its share of the picture."""
        here = table[table["present"]]
        rows = []
        for name, low, high in AREAS:
            rows += self.of(here[(here["area"] >= low) & (here["area"] < high)], label, f"area={name}")
        return rows

    def macro(self, table: pd.DataFrame, findings: Sequence[str], min_positives: int) -> list[Metric]:
        """Return the mean over findings; a resample leaves out those that are not defined in it."""
        clusters = patient_clusters(table["patient_id"].astype(str), table["present"])
        parts = []
        for finding in findings:
            chosen = (table["finding"] == finding).to_numpy()
            some = Clusters(clusters.patient[chosen], clusters.stratum)
            parts.append(self._statistic(table[chosen], some, dark=True))
        names = [name for name in parts[0][0] if all(name in other for other, _ in parts)]

        def statistic(weights: FloatArray) -> FloatArray:
            values = np.stack([part(weights)[:, [of.index(name) for name in names]] for of, part in parts])
            defined = ~np.isnan(values)
            count = defined.sum(axis=0)
            return np.where(count > 0, np.where(defined, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)

        return self._rows(
            table, "macro", names, statistic, clusters, None, labels_used=len(findings), min_positives=min_positives
        )

    # ----------------------------------------------------------------------------------------------------------------

    def _statistic(
        self, table: pd.DataFrame, clusters: Clusters, *, dark: bool
    ) -> tuple[list[str], Callable[[FloatArray], FloatArray]]:
        """Return names and patient weights (P, B) -> (B, K)."""
        present = table["present"].to_numpy(dtype=bool)
        absent = ~present
        patient = clusters.patient
        columns = {name: table[name].to_numpy(dtype=float) for name in _MEANS}
        if dark and absent.any():
            peak = table["peak"].to_numpy(dtype=float)
            if self.scale == "own":
                columns |= {f"zero_region_specificity@{t:g}": np.where(absent, peak < t, np.nan) for t in THRESHOLDS}
            called = table["_called"].to_numpy(dtype=float)
            if not np.isnan(called).all():
                columns["zero_region_specificity"] = np.where(absent, 1 - called, np.nan)
                columns["sensitivity"] = np.where(present, called, np.nan)
        values = np.stack(list(columns.values()), axis=1)
        known = ~np.isnan(values)
        filled = np.where(known, values, 0.0)
        found = [_detections(table, iou) for iou in _IOUS]
        names, ranked = [*columns, *(f"box_ap@{iou:g}" for iou in _IOUS)], None
        if dark and absent.any():
            names.append("zero_region_auroc")
            ranked = rank_rows(present, table["peak"].to_numpy(dtype=float), patient)

        def statistic(weights: FloatArray) -> FloatArray:
            row = weights[patient]  # (n, B)
            total = known.T.astype(float) @ row
            means = np.where(total > 0, filled.T @ row / np.where(total > 0, total, 1.0), np.nan)
            parts = [means, *(box_average_precision(each, row)[None] for each in found)]
            if ranked is not None:
                parts.append(ranked.draws(np.ascontiguousarray(weights.T, dtype=np.int32))[:, :1].T)
            return np.concatenate(parts).T

        return names, statistic

    def _rows(
        self,
        table: pd.DataFrame,
        label: str,
        names: Sequence[str],
        statistic: Callable[[FloatArray], FloatArray],
        clusters: Clusters,
        group: str | None,
        *,
        labels_used: int | None = None,
        min_positives: int | None = None,
    ) -> list[Metric]:
        present = table["present"].to_numpy(dtype=bool)
        positive, negative = (len(np.unique(clusters.patient[each])) for each in (present, ~present))
        many = FEW_PATIENTS + 1  # of the class that a number has not
        area = float(table.loc[present, "area"].mean()) if label != "macro" else None
        rows = []
        for name in names:
            dark, both = name.startswith("zero_region_specificity"), name.startswith(("box_ap", "zero_region_auroc"))
            chosen = ~present if dark else np.ones_like(present) if both else present
            absent = dark or name == "zero_region_auroc"
            row = Metric(
                metric=name,
                label=label,
                value=None,
                split=self.split,
                policy="none",
                group=group,
                chance=area if name == "pointing_game" else 0.5 if name == "zero_region_auroc" else None,
                reason=few_reason(many if dark else positive, negative if absent else many),
                operating_point="youden_validate" if name in ("zero_region_specificity", "sensitivity") else None,
                counts=Counts(
                    n=int(chosen.sum()),
                    positives=int(present.sum()),
                    patients=len(np.unique(clusters.patient[chosen])),
                    labels_used=labels_used,
                    min_positives=min_positives,
                ),
            )
            rows.append(row)
        return drawn_rows(rows, statistic, clusters, seed=self.seed, resamples=self.resamples, height=len(table))


def _detections(table: pd.DataFrame, iou: float) -> Detections:
    scores, hits = list(table["box_scores"]), list(table[f"box_hits@{iou:g}"])
    return Detections(
        np.array([score for some in scores for score in some], dtype=float),
        np.array([hit for some in hits for hit in some], dtype=bool),
        np.repeat(np.arange(len(scores)), [len(some) for some in scores]),
        table["truths"].to_numpy(dtype=np.int64),
    )
