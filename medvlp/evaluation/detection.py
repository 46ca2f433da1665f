"""Predicted boxes against drawn ones over many cases: average precision by finding, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from medvlp.evaluation.grounding.box_ap import Detections, box_average_precision, match
from medvlp.evaluation.metric_row import Draw, drawn_rows
from medvlp.evaluation.results import Counts, Metric
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.few import FEW_PATIENTS, few_reason
from medvlp.statistics.metrics import FloatArray


@dataclass
class CaseBoxes:
    """Boxes of one finding, case by case; only cases in which it is known where the finding is.

    Attributes:
        places: of the cases among the judged pictures.
        patients: of the cases.
        truths: (C,) drawn boxes of each.
        scores: of all predicted boxes.
        hits: whether each took a drawn one.
        owners: case of each.
    """

    places: list[int] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    truths: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(
        self, place: int, patient: str, truth: FloatArray, boxes: FloatArray, scores: FloatArray, *, iou: float
    ) -> None:
        """Take in a case: (t, 4) drawn boxes, (n, 4) predicted ones with their scores."""
        self.owners += [len(self.patients)] * len(scores)
        self.places.append(place)
        self.patients.append(patient)
        self.truths.append(len(truth))
        self.scores += [float(score) for score in scores]
        own = [(float(score), tuple(map(float, box))) for box, score in zip(boxes, scores, strict=True)]
        self.hits += match(own, [tuple(map(float, box)) for box in truth], iou=iou)  # pyrefly: ignore

    def detections(self) -> Detections:
        """Return them as arrays."""
        return Detections(
            np.array(self.scores, dtype=float),
            np.array(self.hits, dtype=bool),
            np.array(self.owners, dtype=np.int64),
            np.array(self.truths, dtype=np.int64),
        )


def ap_rows(found: dict[str, CaseBoxes], *, iou: float, seed: int, resamples: int, split: str = "") -> list[Metric]:
    """Return average precision at an overlap, of each finding and their mean, with a patient bootstrap.

    Args:
        found: by finding.
        iou: overlap from which a box is right: it stands in the metric's name, ``ap@0.3``.
        resamples: over patients.
        split: written into the rows.
    """
    row_of = partial(_row, f"ap@{iou:g}", draw=partial(drawn_rows, seed=seed, resamples=resamples), split=split)
    drawn = {label: cases for label, cases in found.items() if sum(cases.truths)}
    rows = [row_of(label, [cases]) for label, cases in drawn.items()]
    return [*rows, row_of("macro", list(drawn.values()))] if drawn else []


def ap_difference(
    one: dict[str, CaseBoxes],
    other: dict[str, CaseBoxes],
    *,
    label: str,
    iou: float,
    seed: int,
    resamples: int,
    split: str = "",
) -> Metric:
    """Return mean average precision of one less that of another, paired: a resample draws the same patients for both.

    Args:
        one: by finding.
        other: of the same cases.
        label: of the row: who the other is.
        iou: as for `ap_rows`.
        resamples: over patients.
        split: written into the row.
    """
    names = [name for name, cases in one.items() if sum(cases.truths)]
    pairs = [one[name] for name in names], [other[name] for name in names]
    draw = partial(drawn_rows, seed=seed, resamples=resamples)
    return _row(f"ap_difference@{iou:g}", label, pairs[0], pairs[1], draw=draw, split=split)


def _row(
    metric: str, label: str, parts: Sequence[CaseBoxes], less: Sequence[CaseBoxes] = (), *, draw: Draw, split: str
) -> Metric:
    everybody = [patient for part in parts for patient in part.patients]
    clusters = patient_clusters(np.array(everybody))
    ends = np.cumsum([0, *(len(part.patients) for part in parts)])

    def mean(some: Sequence[CaseBoxes], weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        each = np.stack(
            [
                box_average_precision(part.detections(), row[start:stop])
                for part, start, stop in zip(some, ends, ends[1:], strict=False)
            ]
        )
        count = np.isfinite(each).sum(axis=0)
        return np.where(count > 0, np.nansum(each, axis=0) / np.maximum(count, 1), np.nan)

    def statistic(weights: FloatArray) -> FloatArray:
        value = mean(parts, weights)
        return (value - mean(less, weights) if less else value)[:, None]

    height = max(len(everybody), sum(len(part.scores) for part in parts))
    drawn = {who for part in parts for who, truths in zip(part.patients, part.truths, strict=True) if truths}
    row = Metric(
        metric=metric,
        label=label,
        value=None,
        split=split,
        policy="none",
        reason=few_reason(len(drawn), FEW_PATIENTS + 1),
        counts=Counts(
            n=len({place for part in parts for place in part.places}),  # a picture of two findings is one case
            positives=sum(truths > 0 for part in parts for truths in part.truths),
            patients=clusters.patients,
            labels_used=len(parts) if len(parts) > 1 else None,
        ),
    )
    return draw([row], statistic, clusters, height=height)[0]
