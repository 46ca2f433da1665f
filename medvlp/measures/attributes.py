"""What the view, the site or another attribute tells of each finding without any picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.config.judge import Judge
from medvlp.core.errors import DataError
from medvlp.core.suggest import did_you_mean
from medvlp.evaluation.attribute import attribute_scores
from medvlp.evaluation.results import Result

__all__ = ["attributes"]


def attributes(judge: Judge) -> Iterator[Result]:
    """Yield a control for each attribute: a finding's share among training records with the same value.

    Raises:
        DataError: if the data has no such column, or no training records.
    """
    for name in judge.options.attributes:
        if name not in judge.manifest:
            there = did_you_mean(name, judge.manifest.names)
            raise DataError(f"The data has no column {name!r} of evaluation.attributes: {there}.")
        if "train" not in judge.splits:
            raise DataError(
                f"evaluation.attributes counts {name!r} in the split train, which the data has not: leave it out."
            )
        train = judge.manifest.split_of("train")
        scores = {
            finding: attribute_scores(
                judge.prepared.manifest.column(name).tolist(),
                train.column(name).tolist(),
                np.asarray(train.column(f"label.{finding}"), dtype=float),
            )
            for finding in judge.labels
        }
        yield judge.scores(f"attribute_{name}", scores, f"Control: {name.replace('_', ' ')} alone", control=True)
