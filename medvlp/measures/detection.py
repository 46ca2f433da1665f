"""Boxes against drawn ones: average precision by finding, beside one box a finding learned from training boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.core.predictions import BoxSet, Predictions
from medvlp.core.sample import Sample
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.data.prepare import Prepared
from medvlp.evaluation.detection import CaseBoxes, ap_difference, ap_rows
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.grounding.baselines import fit_constant_box
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._grounding_maps import evenly
from medvlp.measures._truth import drawn_in_file

_Share = Annotated[float, Field(gt=0, le=1)]
_TRAINING = 400  # pictures whose boxes the control is fitted on


class Detection(Measure):
    """Average precision at an overlap: area under precision and recall of all boxes of a finding, not interpolated.

    A drawn box is taken by the surest free box that overlaps it enough; further ones are false alarms. Cases in which
    the finding was looked for and is not there count with their false alarms; cases of which nobody knows where it is
    count nowhere. The control puts the one box that overlaps most of the training boxes into every picture, those of
    all findings where a finding has none; the difference from it is paired. Images only.

    Args:
        iou: overlaps, intersection over union; the first chooses the best checkpoint, as ``ap``.

    Example:
        >>> Detection().points
        ('ap',)
    """

    reads: ClassVar[frozenset[str]] = frozenset({"boxes"})
    points: ClassVar[tuple[str, ...]] = ("ap",)
    order: ClassVar[int] = 16

    def __init__(self, *, iou: Annotated[tuple[_Share, ...], Field(min_length=1)] = (0.3, 0.5)) -> None:
        self.iou = iou

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``ap/LABEL`` and their mean ``ap/macro`` at the first overlap."""
        found = self._cases(said.boxes or (), cohort, self.iou[0])
        rows = ap_rows(found, iou=self.iou[0], seed=0, resamples=0)
        return {f"ap/{row.label}": row.value for row in rows if row.value is not None}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result for each answer that draws boxes, and the control, where the data has boxes."""
        if not evaluation.knows_patients or evaluation.model.model.vision_kind != "image":
            return
        split = evaluation.options.split
        for name, answer, said in evaluation.giving("boxes"):
            manifest, boxes = evaluation.judged.manifest, said.boxes or ()
            labels = [label for label in answer.labels if f"boxes.{label}" in manifest]
            control = self._control(evaluation, labels)
            manifest = manifest.without(*(n for n in manifest.names_of("boxes") if n.partition(".")[2] not in labels))
            metrics, of_control, cases = [], [], self._cases(boxes, manifest, self.iou[0])
            for iou in self.iou:
                found = self._cases(boxes, manifest, iou)
                drawn: dict[str, Any] = {"iou": iou, **evaluation.facts}
                metrics += ap_rows(found, **drawn)
                if control is not None and metrics:  # somewhere a box is drawn
                    other = self._cases(control, manifest, iou)
                    metrics.append(ap_difference(found, other, label="constant_box", **drawn))
                    of_control += ap_rows(other, **drawn)
            if not metrics:
                continue
            title = "Boxes against drawn ones"
            yield Result(name=name, title=title, metrics=tuple(metrics), cases=_table(cases, split))
            if control is not None:
                made = _table(self._cases(control, manifest, self.iou[0]), split)
                name, title = f"{name}_constant_box", "Control: one training box a finding"
                yield Result(name=name, title=title, metrics=tuple(of_control), cases=made, role="control")

    def _cases(self, boxes: Sequence[BoxSet], cohort: Manifest, iou: float) -> dict[str, CaseBoxes]:
        records = Records(cohort)
        patients = cohort.column("id.patient" if "id.patient" in cohort else "id")
        found = {label: CaseBoxes() for label in dict.fromkeys(n.partition(".")[2] for n in cohort.names_of("boxes"))}
        for index, each in enumerate(boxes):
            sample = records.sample(index)
            names = np.array(each.labels, dtype=str)
            for label, cases in found.items():
                truth = drawn_in_file(sample, "boxes", label)
                if truth is not None:
                    own = names == label
                    cases.add(index, str(patients[index]), truth, each.boxes[own], each.scores[own], iou=iou)
        return found

    def _control(self, evaluation: Evaluation, labels: Sequence[str]) -> list[BoxSet] | None:
        """Return for each judged picture the training box of each finding; None without training boxes."""
        if "train" not in evaluation.splits - {evaluation.options.split}:
            return None
        train = evaluation.part("train").prepared
        shares = {label: _shares(train, label) for label in labels}
        everything = [some for each in shares.values() for some in each]
        if not everything:
            return None
        pooled = None if all(shares.values()) else fit_constant_box(everything)
        fitted = {label: fit_constant_box(some) if some else pooled for label, some in shares.items()}
        found = []
        for index in range(len(evaluation.judged.prepared)):
            sample = evaluation.judged.prepared.sample(index)
            if "image" not in sample.fields:
                found.append(BoxSet(np.zeros((0, 4)), np.zeros(0), ()))
                continue
            size = _size(sample)
            scaled = [np.array(box) * np.array([size[1], size[0]] * 2) for box in fitted.values()]
            found.append(BoxSet(np.array(scaled), np.full(len(scaled), 0.5), tuple(fitted)))
        return found


def _shares(train: Prepared, label: str) -> list[list[tuple[float, float, float, float]]]:
    """Return the boxes of training pictures in shares of their sides, at most 400 pictures, evenly taken."""
    there = [i for i in range(len(train)) if _drawn(train, i, label) is not None]
    found = []
    for index in (there[at] for at in evenly(len(there), _TRAINING)):
        height, width = _size(train.sample(index))
        boxes = _drawn(train, index, label)
        if boxes is not None:
            found.append([tuple(row / np.array([width, height] * 2)) for row in boxes])
    return found


def _drawn(prepared: Prepared, index: int, label: str) -> np.ndarray | None:
    boxes = drawn_in_file(prepared.records.sample(index, paths=False), "boxes", label)
    return boxes if boxes is not None and len(boxes) else None


def _size(sample: Sample) -> tuple[int, int]:
    record = sample.record("image")
    if record is None or record.source is None:
        raise DataError("Boxes are measured on files, and a picture does not say how large its file is: use `read`.")
    return record.source[-2], record.source[-1]


def _table(cases: dict[str, CaseBoxes], split: str) -> pd.DataFrame:
    rows = []
    for label, each in cases.items():
        owners, hits = np.array(each.owners, np.int64), np.array(each.hits, bool)
        predicted, right = (np.bincount(some, minlength=len(each.patients)) for some in (owners, owners[hits]))
        rows += zip(each.patients, [label] * len(right), each.truths, predicted.tolist(), right.tolist(), strict=True)
    columns = ["patient_id", "label", "drawn", "predicted", "right"]
    return pd.DataFrame(rows, columns=columns).assign(split=split)
