"""The calibrated probability of a case on the page, by the map that its result was calibrated with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medvlp.evaluation.released import released_map
from medvlp.evaluation.results import Result
from medvlp.pages.inputs import GalleryItem
from medvlp.statistics.calibration.calibrators import Calibrator

__all__ = ["probability_of"]


def probability_of(item: GalleryItem, results: Sequence[Result]) -> tuple[float | None, str]:
    """Return the probability of an item's score and the name of the map; (None, "") where no map was fitted for it.

    Args:
        item: a case.
        results: the first that has the finding among its cases, with this very score, is the item's own.
    """
    for result in results:
        column = f"score:{item.finding}"
        if result.cases is None or column not in result.cases or item.finding not in result.fitted:
            continue
        scores = pd.to_numeric(result.cases[column], errors="coerce").to_numpy(np.float64)
        if not np.isclose(scores, item.score, rtol=1e-6, atol=1e-9).any():
            continue
        name = released_map(result, [row for row in result.metrics if row.label == item.finding])
        plain = result.fitted[item.finding].get("calibration", {}).get(name)
        if name is not None and plain is not None:
            return float(Calibrator.from_dict(plain).probabilities([item.score])[0]), name
    return None, ""
