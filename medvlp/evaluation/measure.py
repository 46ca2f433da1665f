"""How a model is judged: the protocol of `medvlp.measures`, one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from medvlp.core.answers import Answer, Asks
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import Result

if TYPE_CHECKING:
    from medvlp.evaluation.evaluation import Evaluation


class Measure(ABC):
    """One way to judge; its options are its constructor.

    A measure with `points` also gives numbers without intervals while a model trains: one of them may choose the best
    checkpoint, ``ANSWER/METRIC[/LABEL]``.

    Attributes:
        reads: parts of `Predictions` that an answer must fill; empty where it reads features or pictures itself.
        asks: what such an answer must be told; None: whatever it is told.
        points: metrics that `values` gives.
        usual: whether an evaluation makes it unasked.
        order: place among the usual ones.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    asks: ClassVar[Asks | None] = None
    points: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[bool] = True
    order: ClassVar[int] = 50

    def suits(self, answer: Answer) -> bool:
        """Whether it measures what an answer says."""
        return bool(self.reads) and self.reads <= answer.gives and self.asks in (None, answer.asks)

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``METRIC`` or ``METRIC/LABEL`` -> value over the rows of a cohort; what it has no truth of is absent.

        Args:
            said: by one answer, a row a record, with the parts of `reads`.
            cohort: the same records.
        """
        return {}

    @abstractmethod
    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the results that the data allows.

        Raises:
            UserError: if it was asked for and the data or the model lacks what it needs.
        """
