"""k-nearest-neighbour probe: pictures that look alike vote, the nearer the louder; nothing is fitted.

Once k is chosen the validation pictures vote too, unless `refit` is false. A validation picture is then its own nearest
neighbour: no threshold and no calibration may be chosen on the scores of validation patients, and none is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from medvlp.adaptation._adapter import both_classes, notes_of
from medvlp.core.answers import FEATURES, Answer, Ask, ProbeTable, Rows
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.evaluation.probe_tables import BOTH, best_by_auroc, both_tables, checked_features, checked_tables
from medvlp.features.nearest import nearest
from medvlp.statistics.metrics import FloatArray

__all__ = ["Knn", "KnnProbe", "Neighbours"]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training rows that may vote on a finding, and how many do.

    Attributes:
        features: ``(T, D)`` at unit length, the same array for all findings.
        present: ``(T,)`` 1 or 0; rows with another value do not vote.
        k: how many vote.
        validation_auroc: with that k; NaN where validation has one class only and the middle one was taken.
    """

    features: FloatArray
    present: FloatArray
    k: int
    validation_auroc: float = float("nan")


class KnnProbe(Answer):
    """Share of the votes of the k nearest training rows, ``sum_i w_i y_i / sum_i w_i`` with ``w_i = exp(cos_i / T)``.

    Args:
        neighbours: by finding.
        temperature: T.
        left_out: finding -> why there is none.
        refitted: whether validation pictures vote.

    Example:
        >>> near = Neighbours(np.eye(2), np.array([1.0, 0.0]), k=2)
        >>> probe = KnnProbe({"edema": near}, 1.0, {})
        >>> probe.votes(["edema"], np.array([[3.0, 0.0]]))["edema"].round(3).tolist()  # e / (e + 1)
        [0.731]
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __init__(
        self,
        neighbours: Mapping[str, Neighbours],
        temperature: float,
        left_out: Mapping[str, str],
        *,
        refitted: bool = False,
    ) -> None:
        self.neighbours, self.temperature, self.left_out, self.refitted = neighbours, temperature, left_out, refitted
        self.labels = tuple(neighbours)
        self.title = f"Nearest neighbours, {BOTH}" if refitted else "Nearest neighbours"

    def needs(self, model: Model) -> frozenset[Key]:
        """The features."""
        return keys(FEATURES)

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Return the votes of all findings, or of those asked for."""
        wanted = [label for label in self.labels if label in (ask.findings or self.labels)]
        scores = self.votes(wanted, rows.table[FEATURES])
        return Predictions(tuple(rows.table.ids), scores=scores, notes=notes_of("No neighbours vote on", self.left_out))

    def votes(self, labels: Sequence[str], features: np.ndarray) -> dict[str, FloatArray]:
        """Return (N,) of each of some findings, of features (N, D).

        Raises:
            DataError: if they have another width than those of training, or are not finite.
        """
        if not labels:
            return {}
        training = self.neighbours[labels[0]].features
        rows = _unit(checked_features(features, training.shape[1]))
        asked = {label: (self.neighbours[label].present, [self.neighbours[label].k]) for label in labels}
        return {label: votes[0] for label, votes in _votes(rows, training, asked, self.temperature)}


@dataclass(kw_only=True, eq=False)
class Knn:
    """Weighted k-nearest-neighbour classifier (Wu et al. 2018, sec. 3.4; with T = 0.07 as in DINO, Caron et al. 2021).

    Neighbours are taken by cosine among the training rows whose label is known. k is chosen for each finding by AUROC
    on validation patients, and the largest wins a tie. A finding of one class in training is left out.

    Args:
        neighbours: k to try; those above the known training rows of a finding count as that many.
        temperature: T; a lower one makes the nearest louder.
        refit: whether validation rows vote too, once k is chosen.

    Example:
        >>> x = np.linspace(-1, 1, 20)
        >>> tables = [
        ...     ProbeTable(np.stack([x, np.ones(20)], 1), {"edema": (x > 0).astype(float)}, [who] * 20) for who in "ab"
        ... ]
        >>> Knn(neighbours=(3,)).fit(*tables, bank={}).neighbours["edema"].validation_auroc
        1.0
    """

    neighbours: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10, 20, 100, 200)
    temperature: Annotated[float, Field(gt=0)] = 0.07
    refit: bool = True

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> KnnProbe:
        """Keep `train`, choose k on `validation`, keep both; `bank` is not looked at.

        Raises:
            DataError: if the tables do not fit together, features are not finite, a patient is in both, or nothing can
                be asked.
        """
        features, held_out = (_unit(rows) for rows in checked_tables(train, validation))
        names, _, left_out = both_classes(train)
        asked: dict[str, tuple[FloatArray, list[int]]] = {}
        for name in names:
            known = int(np.isin(train.labels[name], (0.0, 1.0)).sum())
            # Of equal ones the first is chosen: the largest k stands first.
            asked[name] = train.labels[name], sorted({min(k, known) for k in self.neighbours}, reverse=True)
        found: dict[str, Neighbours] = {}
        for name, votes in _votes(held_out, features, asked, self.temperature):
            labels, ks = asked[name]
            best, value = best_by_auroc(validation.labels[name], list(votes))
            found[name] = Neighbours(features, labels, ks[best], value)
        found = {name: found[name] for name in names}
        if self.refit:
            both = both_tables(train, validation)
            rows = _unit(both.features)
            for name, own in found.items():
                found[name] = replace(own, features=rows, present=both.labels[name])
        return KnnProbe(found, self.temperature, left_out, refitted=self.refit)


def _votes(
    rows: FloatArray, training: FloatArray, asked: Mapping[str, tuple[FloatArray, list[int]]], temperature: float
) -> Iterator[tuple[str, FloatArray]]:
    """Yield each finding asked, with its labels (T,) and ks, and the shares (len(ks), N) of the votes of rows (N, D).

    Findings that the same rows are labelled for are looked up together: the search costs most, and is the same.
    """
    together: dict[bytes, list[str]] = {}
    for name, (labels, _) in asked.items():
        together.setdefault(np.packbits(np.isin(labels, (0.0, 1.0))).tobytes(), []).append(name)
    queries, table = torch.tensor(rows), torch.from_numpy(training)
    for names in together.values():
        most = max(k for name in names for k in asked[name][1])
        known = torch.from_numpy(np.isin(asked[names[0]][0], (0.0, 1.0)))
        near = nearest(queries, table, most, usable=known)
        cosine, chosen = near.scores.numpy(), near.rows.numpy()
        weight = np.exp((cosine - cosine[:, :1]) / temperature)  # less the nearest one's: the share is the same
        for name in names:
            labels, ks = asked[name]
            shares = np.cumsum(weight * labels[chosen], axis=1) / np.cumsum(weight, axis=1)
            yield name, shares[:, [k - 1 for k in ks]].T


def _unit(rows: FloatArray) -> FloatArray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
