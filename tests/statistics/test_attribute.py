"""An attribute's score is counted on the training rows whose label is known."""

from __future__ import annotations

import numpy as np

from medvlp.statistics.attribute import attribute_scores


def test_rows_without_a_known_label_count_nowhere() -> None:
    views, labels = ["AP", "AP", "PA"], [1, 0, 0]
    unknown = attribute_scores(["AP", "PA", None], [*views, "AP", "PA", "LL"], [*labels, np.nan, -1, -1])
    # (1 + 1) / (2 + 2) of the two AP, (0 + 1) / (1 + 2) of the one PA, (1 + 1) / (3 + 2) of all three.
    assert unknown.tolist() == attribute_scores(["AP", "PA", None], views, labels).tolist() == [2 / 4, 1 / 3, 2 / 5]
