"""GRIP: pseudo-labels grow with the rounds: what is surest is learnt first, all unlabelled rows at the end."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medvlp.adaptation._adapter import Adapter, Candidate, applied
from medvlp.adaptation._training import trained
from medvlp.adaptation.linear import start_of
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class Grip(Adapter):
    """Class vectors of words tuned on labels and on pseudo-labels of the rows without (Menghini et al. 2023, GRIP).

    For each finding the rows whose label is unknown are scored, and the surest of each class enter its leaderboard. In
    round i of R the boards hold ``i floor(U / R)`` of the U rows, in the last all; the vectors then start again from
    the words and learn ``g CE(labels) + CE(pseudo-labels)`` with ``g = pseudo-labels / labels``, and score anew.

    The paper gives each class the same room and tunes prompts in front of a text tower. Here features are frozen and
    what learns is the vector that the prompts became; and a class has the share of the rows that it has among the known
    labels: half of all films being edema is wrong by far. Epochs are chosen for each finding on validation. Where no
    label is missing, it is a linear probe that starts from the words.

    Args:
        rounds: R; 1 takes all rows at once.
        epochs: after which the vectors are tried.
        prior: share of rows with a finding; None: that of its known labels.
        rate: learning rate.
        refit: whether it is trained again on training and validation rows together.

    Example:
        >>> Grip(epochs=(10, 40)).grid(None)
        [10, 40]
    """

    title: ClassVar[str] = "Pseudo-labels in rounds (GRIP)"
    axes: ClassVar[tuple[str, ...]] = ("epochs",)
    needs_words: ClassVar[bool] = True

    rounds: Annotated[int, Field(ge=1)] = 10
    epochs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10, 40)
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    rate: Annotated[float, Field(gt=0)] = 1e-1
    refit: bool = True

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[int]
    ) -> list[Candidate]:
        """The vectors after all rounds of so many epochs."""
        return [self._tuned(rows, labels, start_of(rows, labels, words), epochs) for epochs in grid]

    def _tuned(self, rows: FloatArray, labels: FloatArray, start: Candidate, epochs: int) -> Candidate:
        tuned, known = start, np.isfinite(labels)
        free = [np.flatnonzero(~known[:, k]) for k in range(labels.shape[1])]
        seen = [labels[known[:, k], k] for k in range(len(free))]
        shares = [(float(s.mean()) if len(s) else 0.5) if self.prior is None else self.prior for s in seen]
        sizes = [board_sizes(len(u), (1 - share, share), self.rounds) for u, share in zip(free, shares, strict=True)]
        for at in range(self.rounds if any(map(len, free)) else 1):
            scores, guessed, weight = applied(self.head, tuned, rows), labels.copy(), np.ones(labels.shape)
            for k, unlabelled in enumerate(free):
                present = scores[unlabelled, k]
                boards = leaderboards(np.stack([-present, present], axis=1), sizes[k][at])
                guessed[unlabelled, k] = np.where(boards < 0, np.nan, boards)
                weight[known[:, k], k] = max(1, (boards >= 0).sum()) / max(1, known[:, k].sum())
            own = {"only": ["output.weight", "output.bias"], "epochs": [epochs], "rate": self.rate, "weight": weight}
            tuned = trained(self.head, start, rows, guessed, **own)[epochs]
        return tuned


def board_sizes(unlabelled: int, shares: Sequence[float], rounds: int) -> NDArray[np.int64]:
    """Return the room (R, C) of each class's board in each round; in the last the boards take all rows.

    Args:
        unlabelled: U.
        shares: (C,) of the classes, 1 together.
        rounds: R.

    Example:
        >>> board_sizes(1000, [0.1] * 10, 10)[[0, 1, 9], 0].tolist()
        [10, 20, 100]
    """
    totals = np.arange(1, rounds + 1) * (unlabelled // rounds)
    totals[-1] = unlabelled
    ends = np.rint(totals[:, None] * np.cumsum(shares)).astype(np.int64)
    return np.diff(ends, axis=1, prepend=0)


def leaderboards(scores: FloatArray, sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class (U,) on whose board each row stands, -1 for none.

    A row asks for the board of its best class; a board keeps its best rows, and who is pushed off asks for the next
    best class. So the order of the rows makes no difference (deferred acceptance, Gale and Shapley 1962).

    Args:
        scores: (U, C).
        sizes: (C,) room on each board.

    Example:
        >>> leaderboards(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]), [1, 1]).tolist()
        [0, -1, 1]
    """
    wishes = np.argsort(-scores, axis=1, kind="stable")
    boards: list[list[tuple[float, int]]] = [[] for _ in sizes]
    waiting = [(row, 0) for row in range(len(scores))]
    while waiting:
        row, wish = waiting.pop()
        if wish == len(sizes):
            continue
        board = wishes[row, wish]
        heapq.heappush(boards[board], (float(scores[row, board]), -row))
        if len(boards[board]) > sizes[board]:
            lost = -heapq.heappop(boards[board])[1]
            waiting.append((lost, int(np.flatnonzero(wishes[lost] == board)[0]) + 1))
    found = np.full(len(scores), -1, dtype=np.int64)
    for at, board in enumerate(boards):
        found[[-row for _, row in board]] = at
    return found
