"""A straight line from the peak rate down to a fraction of it, as BERT's (Devlin et al. 2019, appendix A.2)."""

from __future__ import annotations

from typing import Annotated

from medvlp.core.registry import FromModel


def linear(*, done: Annotated[float, FromModel("done")], final: Annotated[float, FromModel("final")]) -> float:
    """Return the factor on the peak rate.

    Args:
        done, final: as of `cosine`.

    Example:
        >>> linear(done=0.25, final=0.2)
        0.8
    """
    return 1.0 - (1.0 - final) * done
