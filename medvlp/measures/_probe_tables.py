"""Features and labels of the splits, as probes want them: of the model, and of thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medvlp.core.answers import ProbeTable
from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation, Part
from medvlp.evaluation.probe_tables import thumbnails
from medvlp.evaluation.shown import shown_pixels

# Pictures are read, then averaged: the threads of the one and of the other, in turns for each, wait for one another.
_AT_ONCE = 64


@dataclass(frozen=True)
class ProbeTables:
    """What is fitted on, what is chosen on, and the features (N, D) of what is measured."""

    train: ProbeTable
    validation: ProbeTable
    measured: np.ndarray


def can_probe(evaluation: Evaluation) -> bool:
    """Whether there are pictures, labels, patients, and two other splits: to train and to choose on."""
    apart = {"train", "validate"} <= evaluation.splits - {evaluation.options.split}
    return bool(evaluation.labels and evaluation.sees and evaluation.knows_patients and apart)


def deep_tables(evaluation: Evaluation) -> ProbeTables:
    """Return what the model makes of the pictures; records without one are refused (DataError)."""

    def features(part: Part) -> np.ndarray:
        rows = part.table[evaluation.features]
        if blank := int(np.isnan(rows).all(axis=1).sum()):
            raise DataError(
                f"{blank} of {len(rows)} records have no picture for a probe to read: leave such records out by "
                f"data.having=[{evaluation.manifest.file_columns[0]}]."
            )
        return rows

    return _tables(evaluation, features)


def thumbnail_tables(evaluation: Evaluation) -> ProbeTables:
    """Return 16 x 16 thumbnails of the same pictures."""
    return _tables(evaluation, _thumbnails)


def labels_of(evaluation: Evaluation, manifest: Manifest) -> dict[str, np.ndarray]:
    """Return the labels (N,) of the evaluation's findings."""
    return {name: np.asarray(manifest.column(f"label.{name}"), dtype=float) for name in evaluation.labels}


def _tables(evaluation: Evaluation, features: Callable[[Part], np.ndarray]) -> ProbeTables:
    def table(split: str) -> ProbeTable:
        part = evaluation.part(split)
        patients = part.manifest.column("id.patient").tolist()
        return ProbeTable(features(part), labels_of(evaluation, part.manifest), patients)

    return ProbeTables(table("train"), table("validate"), features(evaluation.judged))


def _thumbnails(part: Part) -> np.ndarray:
    rows: list[np.ndarray] = []
    for start in range(0, len(part.prepared), _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, len(part.prepared)))
        shown = [np.asarray(shown_pixels(part.prepared.sample(index))) for index in indices]
        rows += [thumbnails(pixels[None]) for pixels in shown]
    return np.concatenate(rows)
