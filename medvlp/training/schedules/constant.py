"""The peak rate to the end."""

from __future__ import annotations

from typing import Annotated

from medvlp.core.registry import FromModel


def constant(*, done: Annotated[float, FromModel("done")]) -> float:
    """Return the factor on the peak rate, 1.

    Args:
        done: as of `cosine`.

    Example:
        >>> constant(done=0.5)
        1.0
    """
    return 1.0
