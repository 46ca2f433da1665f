"""Embeddings at unit length, or refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError


def unit_embeddings(embedding: ArrayLike, what: str) -> NDArray[np.floating]:
    """Return embeddings (S, D) at unit length.

    Raises:
        DataError: if they are no table, or a row is zero, NaN or infinite.

    Example:
        >>> unit_embeddings([[3.0, 4.0]], "Image").tolist()
        [[0.6, 0.8]]
    """
    rows = np.asarray(embedding)
    if rows.ndim != 2:
        raise DataError(f"{what} embeddings have shape {rows.shape}: give one row a study, (S, D).")
    rows = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        bad = int((~(np.isfinite(length) & (length > 0))).sum())
        raise DataError(
            f"{what} embeddings hold {bad} rows that are zero, NaN or infinite: mend the model or drop them."
        )
    return rows / length
