"""Masks against drawn ones: Dice by finding, in the file's own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd

from medvlp.core.predictions import Mask, Predictions
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn
from medvlp.data.mask_files import mask_of
from medvlp.data.pipeline import Records
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.grounding.baselines import fit_constant_mask, resized
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Metric, Result
from medvlp.measures._grounding_maps import evenly
from medvlp.measures._truth import drawn_in_file

_TRAINING = 400  # masks that the control of a finding is fitted on


class Segmentation(Measure):
    """Dice = 2 |A n B| / (|A| + |B|) of each case in which the finding is drawn, averaged over cases.

    A case in which the finding was looked for and is not there has no Dice; it counts in ``false_alarm``, the share of
    such cases with any predicted pixel. A case of which nobody knows where the finding is counts nowhere. A case that
    is one slice of a volume (`take_slice`) is that slice. The lowest case stands in a row of its own, ``lowest_dice``.

    The control puts the one mask that agrees best with a finding's training masks into every picture; the differences
    from it, of each finding (``constant_mask/LABEL``) and of the mean, are paired. Volumes have no control.

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
        """Yield one result for each answer that draws masks, and the control, where the data has some."""
        if not evaluation.knows_patients:
            return
        manifest = evaluation.judged.manifest
        for name, _, said in evaluation.giving("masks"):
            table = self._cases(said, manifest)
            if not len(table):
                continue
            control = self._control(evaluation, said, table["label"].unique())
            other = None if control is None else self._cases(control, manifest)
            yield self._result(evaluation, name, "Masks against drawn ones", table, other)
            if other is not None:
                title = "Control: one training mask a finding"
                made = self._result(evaluation, f"{name}_constant_mask", title, other, None)
                yield replace(made, role="control")

    def _control(self, evaluation: Evaluation, said: Predictions, labels: Iterable[str]) -> Predictions | None:
        """Return the training mask of each finding on every judged picture; None without any."""
        masks = said.masks or ()
        flat = all(len(mask.shape) == 2 for each in masks for mask in each.values())
        if not flat or "train" not in evaluation.splits - {evaluation.options.split}:
            return None
        train = evaluation.manifest.split_of("train")
        records = Records(train)
        fitted = {}
        for label in labels:
            marks = (records.sample(at, paths=False).fields.get(f"mask.{label}") for at in range(len(train)))
            if drawn := [mark for mark in marks if isinstance(mark, Drawn) and mark.value is not None]:
                some = (drawn[at] for at in evenly(len(drawn), _TRAINING))
                fitted[label] = fit_constant_mask(mask_of(mark.plain, mark.root).pixels for mark in some)
        there = ({n: mask.shape for n, mask in each.items() if n in fitted} for each in masks)
        constant = tuple({n: Mask.of(resized(fitted[n], shape)) for n, shape in each.items()} for each in there)
        return replace(said, masks=constant) if fitted else None

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

    def _result(
        self, evaluation: Evaluation, name: str, title: str, table: pd.DataFrame, other: pd.DataFrame | None
    ) -> Result:
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
        wide = _wide(table)[labels]
        owners = manifest.column("id.patient")[wide.index.to_numpy()].astype(str).tolist()
        metrics.append(mean_metric("dice", "macro", wide.to_numpy(), owners, **evaluation.facts))
        if other is not None:
            less = wide - _wide(other).reindex_like(wide)
            parts = {"": less, **{f"/{label}": less[label] for label in labels if less[label].notna().any()}}
            metrics += [
                mean_metric("dice_difference", f"constant_mask{of}", part.to_numpy(), owners, **evaluation.facts)
                for of, part in parts.items()
            ]
        return Result(
            name=name, title=title, metrics=tuple(metrics), cases=table.drop(columns="row").assign(split=split)
        )


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return Dice with a row a case and a column a finding."""
    return table.pivot(index="row", columns="label", values="dice")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice coefficient (Dice 1945) of a drawn mask and another; NaN where nothing is drawn."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum())) if one.any() else float("nan")
