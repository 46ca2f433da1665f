"""Holm's step-down correction: several tests together are wrong at most as often as one would be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.core.errors import DataError


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number (Holm, Scandinavian Journal of Statistics 1979).

    The k-th smallest of m is multiplied by m - k + 1, never below a smaller one's result, at most 1. A missing test
    (None) stays missing and is not counted.

    Args:
        p: values in [0, 1] or None.

    Raises:
        DataError: if a value is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    for value in p:
        if value is not None and not 0 <= value <= 1:
            raise DataError(f"{value} is no p value: give numbers from 0 to 1, or None where there is no test.")
    made = [(at, value) for at, value in enumerate(p) if value is not None]
    corrected: list[float | None] = [None] * len(p)
    if made:
        order = sorted(made, key=lambda pair: pair[1])
        steps = np.maximum.accumulate([value * (len(made) - rank) for rank, (_, value) in enumerate(order)])
        for (at, _), value in zip(order, np.minimum(steps, 1.0), strict=True):
            corrected[at] = float(value)
    return corrected
