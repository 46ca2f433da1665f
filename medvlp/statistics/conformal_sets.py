"""Conformal sets of new scores, by a rule that was fitted on validation rows (`medvlp.statistics.conformal`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter

from medvlp.core.errors import DataError


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Sets of rows: does each hold "present", does it hold "absent"; both ``(n,)``."""

    present: NDArray[np.bool_]
    absent: NDArray[np.bool_]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Rows whose set holds one class."""
        return self.present != self.absent

    @property
    def size(self) -> NDArray[np.int64]:
        """Classes in each set, 0 to 2."""
        return self.present.astype(np.int64) + self.absent

    def covered(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which sets hold the true class."""
        return np.where(labels, self.present, self.absent)

    def correct(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which sets are the true class and no other."""
        return self.answered & (self.present == labels)


@dataclass(frozen=True, slots=True)
class SetRule:
    """What a set holds: "present" from one score upwards, "absent" up to another.

    Attributes:
        level: coverage asked for.
        present_from: None where every set holds "present": too few patients with it to leave it out of any.
        absent_to: None where every set holds "absent", too few patients without it.
        positives, negatives: validation rows.
    """

    level: float
    present_from: float | None
    absent_to: float | None
    positives: int
    negatives: int

    def sets(self, scores: ArrayLike) -> ConformalSets:
        """Return the sets of scores ``(n,)``."""
        values = np.asarray(scores, dtype=np.float64)
        everything = np.ones(values.shape, bool)
        return ConformalSets(
            everything if self.present_from is None else values >= self.present_from,
            everything if self.absent_to is None else values <= self.absent_to,
        )

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The score below or at which a set is "absent" alone, and from or above which it is "present" alone.

        Between the two it is both or neither. None where no score has such a set.

        Example:
            >>> SetRule(0.9, 0.4, 0.6, positives=50, negatives=50).limits
            (0.4, 0.6)
            >>> SetRule(0.9, 0.4, None, positives=50, negatives=3).limits
            (0.4, None)
        """
        if self.present_from is None or self.absent_to is None:
            return self.present_from, self.absent_to
        return min(self.present_from, self.absent_to), max(self.present_from, self.absent_to)

    def to_dict(self) -> dict[str, object]:
        """Return plain data for a bundle or a results file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: Mapping[str, object]) -> SetRule:
        """Return the rule of plain data.

        Raises:
            DataError: if something is missing or no number.

        Example:
            >>> rule = SetRule(0.9, 0.4, None, positives=50, negatives=3)
            >>> SetRule.from_dict(rule.to_dict()) == rule
            True
        """
        try:
            return TypeAdapter(cls).validate_python(dict(entry))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"A stored conformal rule cannot be read ({type(error).__name__}: {error}): fit it again."
            ) from error
