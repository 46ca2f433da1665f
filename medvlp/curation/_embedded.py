"""What rules over tables of embeddings share: reading one, and counting records that stay below a cap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from medvlp.core.curator import Curator
from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings
from medvlp.curation._lowest import Lowest


class Embedded(Curator[Lowest]):
    """A rule that reads vectors of records and counts them by `Lowest`."""

    def add(self, total: Lowest | None, more: Lowest) -> Lowest:
        """Return the sum."""
        if total is None:
            return more
        total.join(more)
        return total

    def embedded(
        self, path: Path, column: str, what: str, *, dtype: DTypeLike = np.float64
    ) -> tuple[list[str], np.ndarray, object]:
        """Return ids and unit rows (R, D) of a table's records that have a vector, and the model that made them."""
        table = FeatureTable.load(path)
        rows = table.vectors(column, dtype=dtype)
        there = np.flatnonzero(np.isfinite(rows).all(1))
        return [table.ids[int(i)] for i in there], unit_embeddings(rows[there], what), table.meta.get("model")
