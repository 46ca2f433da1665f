"""From files to a result: what `medvlp score` does before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medvlp.core.files import sha256_of
from medvlp.core.provenance import code_hash, hash_of
from medvlp.evaluation.predictions import read_predictions
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions

__all__ = ["score_file"]


def score_file(
    predictions: Path,
    *,
    fit: Path | None,
    options: ScoreOptions,
    columns: Mapping[str, str] | None = None,
    title: str = "",
    synthetic: bool = False,
) -> Result:
    """Return the result of a predictions file.

    Args:
        predictions: CSV or Parquet.
        fit: the same of validation rows.
        options: of the statistics.
        columns: field -> column of the tables, where it is called otherwise.
        title: words for a page; by default the file's name.
        synthetic: the data is synthetic.

    Raises:
        DataError: if a file is missing or would give wrong numbers.
    """
    table = read_predictions(predictions, columns=columns)
    validation = None if fit is None else read_predictions(fit, columns=columns)
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
