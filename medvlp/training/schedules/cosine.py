"""Half a cosine from the peak rate down to a fraction of it (Loshchilov and Hutter 2017, without restarts)."""

from __future__ import annotations

import math
from typing import Annotated

from medvlp.core.registry import FromModel


def cosine(*, done: Annotated[float, FromModel("done")], final: Annotated[float, FromModel("final")]) -> float:
    """Return the factor on the peak rate.

    Args:
        done: how much of the way from the end of the warm-up to the end is gone, in [0, 1].
        final: the factor at the end.

    Example:
        >>> [cosine(done=done, final=0.0) for done in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    return final + (1.0 - final) * (0.5 + 0.5 * math.cos(math.pi * done))
