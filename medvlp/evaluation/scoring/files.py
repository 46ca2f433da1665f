"""From files to a result: what `medvlp score` does before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import sha256_of
from medvlp.core.provenance import code_hash, hash_of
from medvlp.evaluation.predictions import check_keys, is_synthetic, read_predictions
from medvlp.evaluation.report_text import evaluate_reports
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions


def score_file(
    predictions: Path,
    *,
    fit: Path | None,
    options: ScoreOptions,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8-sig",
    title: str = "",
    synthetic: bool = False,
) -> Result:
    """Return the result of a predictions file.

    Args:
        predictions: CSV or Parquet.
        fit: the same of validation rows.
        options: of the statistics.
        columns: field -> column of the tables, where it is called otherwise.
        encoding: of a CSV.
        title: words for a page; by default the file's name.
        synthetic: the data is synthetic, also where its table does not say so (see `is_synthetic`).

    Raises:
        DataError: if a file is missing or would give wrong numbers.
    """
    table = read_predictions(predictions, columns=columns, encoding=encoding)
    validation = None if fit is None else read_predictions(fit, columns=columns, encoding=encoding)
    files = [sha256_of(path) for path in (predictions, fit) if path is not None]
    return score_predictions(
        table,
        validation=validation,
        options=options,
        recipe=hash_of([options.to_dict(), code_hash("evaluation")]),
        data=hash_of(files),
        title=title or predictions.stem,
        synthetic=synthetic,
    )


REPORT_COLUMNS = ("reference", "written")


def score_reports(
    path: Path,
    *,
    options: ScoreOptions,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8-sig",
    vocabulary: str = "chexpert14",
    title: str = "",
    synthetic: bool = False,
) -> Result | None:
    """Return the finding-level F1 and the rates of errors of a table of reports; None where it has no such columns.

    Columns: ``id``, ``patient_id``, ``reference`` (the radiologist's), ``written`` (what is judged) and, if known,
    ``has_prior`` (1 or 0: whether there is an earlier examination).

    Args:
        path: CSV or Parquet.
        options: its seed and resamples are used; others must be what they are by default.
        columns: field -> column of the table, where it is called otherwise.
        encoding: of a CSV.
        vocabulary: of the findings.
        title: words for a page; by default the file's name.
        synthetic: the data is synthetic, also where its table does not say so (see `is_synthetic`).

    Raises:
        DataError: if a text or patient is missing, an id occurs twice, splits are several, or ``has_prior`` no 1 or 0.
        ConfigError: if an option is set that says nothing of texts.
    """
    table = read_predictions(path, columns=columns, encoding=encoding)
    there = [column for column in REPORT_COLUMNS if column in table]
    if not there or any(str(column).startswith(("label:", "score:")) for column in table.columns):
        return None
    if options != replace(ScoreOptions(), seed=options.seed, resamples=options.resamples):
        raise ConfigError(
            f"{path} is a table of reports: of the options only --seed and --resamples say anything of it."
        )
    check_keys(table, ("id", "patient_id", *REPORT_COLUMNS))
    if "split" in table and table["split"].nunique() > 1:
        raise DataError(f"{path} holds reports of several splits, which would be judged as one: leave those of one.")
    result = evaluate_reports(
        table["reference"].astype(str).tolist(),
        table["written"].astype(str).tolist(),
        table["patient_id"].astype(str).tolist(),
        seed=options.seed,
        wanted=vocabulary,
        has_prior=_priors(path, table),
        resamples=options.resamples,
        title=title or path.stem,
    )
    recipe = hash_of([options.seed, options.resamples, vocabulary, code_hash("evaluation"), code_hash("text")])
    return replace(result, recipe=recipe, data=hash_of([sha256_of(path)]), synthetic=synthetic or is_synthetic(table))


def _priors(path: Path, table: pd.DataFrame) -> list[bool] | None:
    if "has_prior" not in table:
        return None
    values = pd.to_numeric(table["has_prior"], errors="coerce")
    if not values.isin([0, 1]).all():
        raise DataError(f"{path} has rows whose has_prior is neither 1 nor 0: fill them, or leave the column out.")
    return (values == 1).tolist()
