"""Masks against drawn ones: Dice by finding, in the file's own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd

from medvlp.core.predictions import Mask, Predictions
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Metric, Result
from medvlp.measures._truth import drawn_in_file


class Segmentation(Measure):
    """Dice = 2 |A n B| / (|A| + |B|) of each case in which the finding is drawn, averaged over cases.

    A case in which the finding was looked for and is not there has no Dice; it counts in ``false_alarm``, the share of
    such cases with any predicted pixel. A case of which nobody knows where the finding is counts nowhere. A case that
    is one slice of a volume (`take_slice`) is that slice. The lowest case stands in a row of its own, ``lowest_dice``.

    Example:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """

    reads: ClassVar[frozenset[str]] = frozenset({"masks"})
    points: ClassVar[tuple[str, ...]] = ("dice",)
    order: ClassVar[int] = 15

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``dice/LABEL`` and their mean ``dice/macro``, over cases in which the finding is drawn."""
        table = self._cases(said, cohort)
        found = {}
        for label in dict.fromkeys(table["label"]):
            values = table.loc[(table["label"] == label), "dice"].to_numpy(dtype=float)
            if np.isfinite(values).any():
                found[f"dice/{label}"] = float(np.nanmean(values))
        return found | ({"dice/macro": float(np.mean(list(found.values())))} if found else {})

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result for each answer that draws masks, where the data has some."""
        if not evaluation.knows_patients:
            return
        for name, _, said in evaluation.giving("masks"):
            table = self._cases(said, evaluation.judged.manifest)
            if len(table):
                yield self._result(evaluation, name, table)

    def _cases(self, said: Predictions, cohort: Manifest) -> pd.DataFrame:
        """Return one row a case and finding of which it is known where it is."""
        masks: Sequence = said.masks or ()
        records, rows = Records(cohort), []
        names = list(dict.fromkeys(label for each in masks for label in each))
        drawn = [label for label in names if f"mask.{label}" in cohort]
        for index, each in enumerate(masks):
            sample = records.sample(index)
            for label in drawn:
                predicted = each.get(label)
                if predicted is None:
                    continue
                truth = drawn_in_file(sample, "mask", label, predicted.shape, predicted.world)
                if truth is not None and predicted.shown is not None:
                    truth &= replace(predicted, runs=predicted.shown).array()
                if truth is not None:
                    rows.append((str(cohort.value("id", index)), index, label, *self._counts(truth, predicted)))
        return pd.DataFrame(rows, columns=["id", "row", "label", "present", "pixels", "predicted", "dice"])

    def _counts(self, truth: np.ndarray, predicted: Mask) -> tuple[bool, int, int, float]:
        found = predicted.array()
        return bool(truth.any()), int(truth.sum()), int(found.sum()), dice(truth, found)

    def _result(self, evaluation: Evaluation, name: str, table: pd.DataFrame) -> Result:
        manifest, split = evaluation.judged.manifest, evaluation.options.split
        table = table.assign(patient_id=manifest.column("id.patient")[table["row"].to_numpy()].astype(str))
        metrics: list[Metric] = []
        labels = list(dict.fromkeys(table["label"]))
        for label in labels:
            some = table[table["label"] == label]
            patients = some["patient_id"].tolist()
            values = some["dice"].to_numpy(dtype=float)
            metrics.append(mean_metric("dice", label, values, patients, **evaluation.facts))
            alarm = np.where(some["present"], np.nan, some["predicted"] > 0)
            metrics.append(mean_metric("false_alarm", label, alarm, patients, **evaluation.facts))
            if np.isfinite(values).any():
                lowest = np.array([np.nanmin(values)])
                metrics.append(mean_metric("lowest_dice", label, lowest, ["one"], split=split, seed=0, resamples=0))
        wide = table.pivot(index="row", columns="label", values="dice")[labels]
        owners = manifest.column("id.patient")[wide.index.to_numpy()].astype(str).tolist()
        metrics.append(mean_metric("dice", "macro", wide.to_numpy(), owners, **evaluation.facts))
        return Result(
            name=name,
            title="Masks against drawn ones",
            metrics=tuple(metrics),
            cases=table.drop(columns="row").assign(split=split),
        )


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice coefficient (Dice 1945) of a drawn mask and another; NaN where nothing is drawn."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum())) if one.any() else float("nan")
