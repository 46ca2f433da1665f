"""Which of several calibrations the headline figures of a result are of: that which is released with the model."""

from __future__ import annotations

from collections.abc import Iterable

from medvlp.evaluation.results import Metric, Result

__all__ = ["released_map"]


def released_map(result: Result, rows: Iterable[Metric]) -> str | None:
    """Return the map that is released (`ScoreOptions.calibration`), of those that rows have numbers of.

    Args:
        result: with its options; one that was scored with ``--probabilities`` releases the scores as they are.
        rows: of a split.

    Returns:
        The first map where that one has no numbers; None where nothing was calibrated.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> rows = [Metric(metric="brier", label="edema", value=0.2, counts=Counts(n=9, patients=9), calibration=name)
        ...         for name in ("none", "platt", "isotonic")]
        >>> released_map(Result(name="scores", recipe="", data="", metrics=(*rows,)), rows)
        'platt'
    """
    maps = list(dict.fromkeys(row.calibration for row in rows if row.metric == "brier" and row.value is not None))
    wanted = "none" if result.options.get("probabilities") else str(result.options.get("calibration", "platt"))
    return wanted if wanted in maps else maps[0] if maps else None
