"""What the view, the site or another attribute tells of each finding without any picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from medvlp.core.errors import DataError, did_you_mean
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.statistics.attribute import attribute_scores


class Attributes(Measure):
    """A control for each attribute: a finding's share among training records with the same value.

    Args:
        columns: of the data, such as ``view_position``.

    Example:
        >>> Attributes(columns=("view_position",)).usual
        False
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 74

    def __init__(self, *, columns: Annotated[tuple[str, ...], Field(min_length=1)]) -> None:
        self.columns = columns

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result a column.

        Raises:
            DataError: if the data has no such column, or no training records.
        """
        manifest = evaluation.manifest
        for name in self.columns:
            if name not in manifest:
                there = did_you_mean(name, manifest.names)
                raise DataError(f"The data has no column {name!r} of evaluation.measures.attributes: {there}.")
            if "train" not in evaluation.splits:
                raise DataError(
                    f"evaluation.measures.attributes counts {name!r} in the split train, which the data has not: leave "
                    "it out."
                )
            train = manifest.split_of("train")
            scores = {
                finding: attribute_scores(
                    evaluation.judged.manifest.column(name).tolist(),
                    train.column(name).tolist(),
                    np.asarray(train.column(f"label.{finding}"), dtype=float),
                )
                for finding in evaluation.labels
            }
            title = f"Control: {name.replace('_', ' ')} alone"
            yield evaluation.scores(f"attribute_{name}", scores, title, control=True)
