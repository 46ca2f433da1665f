"""A predictions table to a result: rank metrics for every split, and what validation rows allow for the others.

With validation rows (a split, or a second table) thresholds, calibrations and conformal sets are chosen on them and
judged on the rest. Without, there is no threshold that was not chosen on the rows it would be judged by: only rank
metrics are given, and beside them ``oracle_`` rows that say by their name what they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.progress import Lines
from medvlp.core.provenance import hash_of
from medvlp.data.spellings import patient_notes
from medvlp.data.splits._lists import PART_WORDS
from medvlp.evaluation.audit.audit import audit_split
from medvlp.evaluation.classification import split_rows
from medvlp.evaluation.metric_row import with_draws
from medvlp.evaluation.predictions import checked_findings, is_numeric_column, is_synthetic, numeric_columns
from medvlp.evaluation.rank_metrics import rank_metrics
from medvlp.evaluation.results import Flag, Metric, Result, Role
from medvlp.evaluation.scoring.fitted import FittedFinding, fit_finding
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.probabilities import calibrated, decision_rows, probability_rows
from medvlp.evaluation.scoring.sets import set_rows
from medvlp.evaluation.scoring.split import SplitData, average_weights, split_data
from medvlp.evaluation.scoring.thresholds import threshold_rows
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import rank_rows

FIT_SPLIT = "validate"
_TRAIN = "train"
_PARTS = 6  # of a split: the most that `_fitted_parts` yields, and the audit
_ORACLES = (
    ("oracle_f1", "max_f1"),
    ("oracle_accuracy", "max_f1"),
    ("oracle_sensitivity", "youden"),
    ("oracle_specificity", "youden"),
)
logger = logging.getLogger(__name__)


def score_predictions(
    predictions: pd.DataFrame,
    *,
    validation: pd.DataFrame | None = None,
    options: ScoreOptions | None = None,
    recipe: str = "",
    data: str = "",
    name: str = "scores",
    title: str = "",
    role: Role = "model",
    synthetic: bool = False,
) -> Result:
    """Return every statistic that a predictions table allows.

    Args:
        predictions: columns as in `predictions`; a split called ``validate`` (or ``val``, ``valid``, ``validation``,
            ``dev``, in any case) holds the validation rows.
        validation: these rows as a table of their own instead.
        options: what is computed, and how.
        recipe, title, role, synthetic: of the `Result`, see there.
        data: hash of the data; by default that of the table.
        name: of the result; a policy for uncertain labels other than leaving them out is added to it.

    Raises:
        DataError: if the table would give wrong numbers (see `predictions`), a patient is in validation and elsewhere,
            both forms of validation are given, all rows are for training and validation, or a score is outside [0, 1]
            where probabilities were promised.

    Example:
        >>> table = pd.DataFrame({"id": list("abcdefgh"), "patient_id": list("ABCDEFGH"),
        ...                       "split": ["validate"] * 4 + ["test"] * 4, "label:effusion": [0, 0, 1, 1] * 2,
        ...                       "score:effusion": [0.1, 0.4, 0.35, 0.8] * 2})
        >>> result = score_predictions(table, options=ScoreOptions(resamples=50))
        >>> result.find("sensitivity", "effusion", operating_point="youden").value
        0.5
    """
    options = options or ScoreOptions()
    table = _one_table(predictions, validation)
    findings = checked_findings(table)
    table = numeric_columns(table)
    # In the order of ids: a fit's last digits depend on the order of its sums, and rows have none of their own.
    splits = dict(split_rows(table.sort_values("id", key=lambda column: column.astype(str), kind="stable")))
    if not set(splits) - {FIT_SPLIT, _TRAIN}:
        raise DataError(
            f"Predictions hold the splits {', '.join(map(repr, splits))} and no other: add the rows that the model is "
            f"judged by, as split 'test', or leave the column out to judge all rows."
        )
    ranked = None if options.ranked is None else {_usual_name(split) for split in options.ranked}
    parts = {
        split: split_data(rows, findings, name=split, options=options)
        for split, rows in splits.items()
        if split != _TRAIN or ranked is None or split in ranked
    }
    held_out = parts.get(FIT_SPLIT)
    fitted = None if held_out is None else {each.name: fit_finding(each, options) for each in held_out.findings}
    metrics: list[Metric] = []
    flags: list[Flag] = []
    tell = Lines("Scoring", "parts", write=logger.info)
    for number, (split, own) in enumerate(parts.items()):
        tell(number * _PARTS, len(parts) * _PARTS)
        if ranked is None or split in ranked:
            metrics += rank_metrics(own)
        if split not in (FIT_SPLIT, _TRAIN):
            for part, made in enumerate(_fitted_parts(own, fitted), start=1):
                tell(number * _PARTS + part, len(parts) * _PARTS)
                metrics += made
            audit = audit_split(own, fitted=fitted, validation=held_out)
            metrics += audit.rows
            flags += audit.flags
    return Result(
        name=name if options.policy == "u_ignore" else f"{name}_{options.policy}",
        title=title,
        role=role,
        synthetic=synthetic or is_synthetic(table),
        recipe=recipe,
        data=data or hash_of(pd.util.hash_pandas_object(table.astype(str), index=False).tolist()),
        metrics=tuple(metrics),
        caveats=patient_notes(table["patient_id"].astype(str)),
        flags=tuple(flags),
        cases=table.assign(synthetic=1) if synthetic else table,
        options=options.to_dict(),
        fitted={} if fitted is None else {finding: each.to_dict() for finding, each in fitted.items()},
    )


def recompute(result: Result) -> Result:
    """Make a result again from its stored predictions and options.

    Raises:
        DataError: if its cases or options are not there.
    """
    if result.cases is None or not result.options:
        raise DataError(f"Result {result.name!r} has no stored predictions or options: it cannot be made again.")
    options = ScoreOptions.from_dict(result.options)
    again = score_predictions(
        result.cases,
        options=options,
        recipe=result.recipe,
        data=result.data,
        title=result.title,
        role=result.role,
        synthetic=result.synthetic,
    )
    return replace(again, name=result.name, split=result.split, caveats=result.caveats)


def _fitted_parts(data: SplitData, fitted: dict[str, FittedFinding] | None) -> Iterator[list[Metric]]:
    if fitted is not None:
        yield threshold_rows(data, fitted)
    probabilities = calibrated(data, fitted)
    yield probability_rows(data, probabilities)
    yield decision_rows(data, probabilities)
    if fitted is not None:
        yield set_rows(data, fitted)
    yield oracle_rows(data)


def _usual_name(split: object) -> object:
    """Return the name by which a split is known here; others stay as they are."""
    return PART_WORDS.get(str(split).casefold(), split)


def _one_table(predictions: pd.DataFrame, validation: pd.DataFrame | None) -> pd.DataFrame:
    """Return one table whose validation rows, if any, are the split ``validate``."""
    table = predictions.reset_index(drop=True)
    if "split" in table:
        table = table.assign(split=table["split"].astype("object").map(_usual_name, na_action="ignore"))
    if validation is None:
        return table
    if "split" in table and (table["split"] == FIT_SPLIT).any():
        raise DataError(
            f"Predictions hold a split {FIT_SPLIT!r} and a validation table was given too: leave one of them out."
        )
    if "split" in validation and validation["split"].map(_usual_name).nunique() > 1:
        raise DataError("The validation table holds several splits, and all would be chosen on: leave those of one.")
    checked_findings(validation.drop(columns="split", errors="ignore"))
    table = table if "split" in table else table.assign(split="test")
    shared = len(set(table["patient_id"].astype(str)) & set(validation["patient_id"].astype(str)))
    if shared:
        raise DataError(
            f"Patients in the predictions and in the validation table: {shared}. Split by patient, or thresholds and "
            f"calibration are chosen on patients that they are judged by."
        )
    both = (_in_words(each) for each in (table, validation.assign(split=FIT_SPLIT)))
    return pd.concat(both, ignore_index=True)


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns but the numeric ones are words: 7 of a Parquet file, "7" of a CSV is one patient."""
    rest = [str(column) for column in table if not is_numeric_column(str(column))]
    return table.assign(**{column: table[column].astype(object).map(str, na_action="ignore") for column in rest})


def oracle_rows(data: SplitData) -> list[Metric]:
    """Return F1 and accuracy at the largest F1, sensitivity and specificity at the largest Youden index, and means."""
    defined = [finding for finding in data.findings if finding.reason is None]
    ranked = [rank_rows(each.truth, each.scores, each.patient) for each in defined]

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.array([[value for rows in ranked for value in rows.tuned(row)] for row in counts])

    if not defined:
        return []
    point = statistic(np.ones((data.clusters.patients, 1)))[0].reshape(len(defined), 4)
    draws = data.draws([statistic])[0].reshape(-1, len(defined), 4)
    taking_part = {finding.name for finding in data.averaged()}
    averaged = [at for at, finding in enumerate(defined) if finding.name in taking_part]
    weights = average_weights([defined[at] for at in averaged], "macro") if averaged else np.empty(0)
    rows = []
    for column, (metric, rule) in enumerate(_ORACLES):
        made = [
            (data.row(finding, metric), float(point[at, column]), draws[:, at, column])
            for at, finding in enumerate(defined)
        ]
        if averaged:
            row = data.average_row([defined[at] for at in averaged], metric, "macro")
            made.append((row, float(weights @ point[averaged, column]), draws[:, averaged, column] @ weights))
        for row, value, drawn in made:
            row = replace(row, value=value, operating_point=rule)
            rows.append(with_draws(row, drawn, form="percentile", patients=row.counts.patients))
    return rows
