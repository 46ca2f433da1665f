"""Few shots: a linear classifier on frozen features from k patients with a finding and k without, drawn many times.

A number of one draw is mostly luck. Every draw is a nested sequence of patients, so that more shots contain fewer; the
strength of regularisation is one for each finding and number of shots, chosen by the mean AUROC over the draws on all
validation patients, whose labels are thus used beyond the shots. Features are standardised by all training images,
whose labels are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.answers import ProbeTable
from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.evaluation.linear_classifier import Standard, fit_classifiers, standard_of
from medvlp.evaluation.probe_tables import best_by_auroc, checked_features, checked_tables
from medvlp.statistics.metrics import FloatArray


def draw_patients(
    labels: ArrayLike, patients: Sequence[str], *, shots: int, seed: int, draw: int, name: str = ""
) -> NDArray[np.int64]:
    """Return rows ``(2, shots)``: of patients without and with a finding, one row a patient.

    Patients stand in an order of the draw; the classes take from it in turn, each the first who has a row of the class
    and was not taken. The first k columns are therefore the draw of k shots, and no patient stands on both sides.

    Args:
        labels: ``(N,)`` 1 present, 0 absent; -1 and NaN are never drawn.
        patients: N identifiers.
        shots: of each class, 1 or more.
        seed: of the run.
        draw: number of the draw.
        name: of the finding.

    Raises:
        DataError: if there are too few patients.

    Example:
        >>> rows = draw_patients([1, 0, 1, 0], ["a", "b", "c", "d"], shots=2, seed=0, draw=0)
        >>> rows.shape, sorted(rows[1].tolist())
        ((2, 2), [0, 2])
    """
    truth, (people, code) = np.asarray(labels, dtype=np.float64), np.unique(patients, return_inverse=True)
    generator = numpy_generator(seed, draw, f"few_shot/{name}")
    rank = generator.permutation(len(people))[code]
    # Rows of a patient in an order of the draw too: which of his pictures is taken is part of the luck.
    order = np.lexsort((generator.permutation(len(code)), rank))
    queues = [iter(order[truth[order] == value]) for value in (0.0, 1.0)]
    used: set[int] = set()
    chosen = np.empty((2, shots), dtype=np.int64)
    for shot in range(shots):
        for side, queue in enumerate(queues):
            row = next((row for row in queue if int(code[row]) not in used), None)
            if row is None:
                counts = [len(np.unique(code[truth == value])) for value in (1.0, 0.0)]
                raise DataError(
                    f"{shots} shots of {name or 'a finding'} need {shots} training patients with it and {shots} others "
                    f"without, and there are {counts[0]} and {counts[1]} (who has images of both kinds is one of "
                    "either): ask for fewer shots."
                )
            used.add(int(code[row]))
            chosen[side, shot] = row
    return chosen


@dataclass(frozen=True, slots=True)
class FewShotDraws:
    """The classifiers of one finding and number of shots, one a draw.

    Attributes:
        weight: ``(draws, D)`` on standardised features.
        bias: ``(draws,)``.
        strength: the C that validation chose for all draws.
        validation_auroc: mean over the draws; NaN where validation has one class, and the middle C was taken.
    """

    weight: FloatArray
    bias: FloatArray
    strength: float
    validation_auroc: float


@dataclass(frozen=True, slots=True)
class FewShot:
    """The few-shot classifiers of all shots and draws.

    Attributes:
        standard: of the training features.
        fitted: finding -> shots -> classifiers.
        left_out: finding -> shots -> why there are none.
    """

    standard: Standard
    fitted: Mapping[str, Mapping[int, FewShotDraws]]
    left_out: Mapping[str, Mapping[int, str]]

    def scores(self, features: ArrayLike) -> dict[str, dict[int, FloatArray]]:
        """Return finding -> shots -> log-odds ``(draws, N)`` of features ``(N, D)``.

        Raises:
            DataError: if the features have another width or are not finite.
        """
        rows = self.standard(checked_features(features, len(self.standard.mean)))
        return {
            name: {shots: each.weight @ rows.T + each.bias[:, None] for shots, each in found.items()}
            for name, found in self.fitted.items()
        }


def fit_few_shot(train: ProbeTable, validation: ProbeTable, *, shots: Sequence[int], draws: int, seed: int) -> FewShot:
    """Fit classifiers on a few patients of each class.

    A finding with too few training patients for a number of shots is left out there, by name and reason.

    Args:
        train: patients to draw from.
        validation: patients to choose C of `STRENGTHS` on, the weakest of a tie; never the test's.
        shots: patients of each class.
        draws: how many times.
        seed: of the draws.

    Raises:
        DataError: if shapes disagree, features are not finite, a patient is in both tables, or nothing can be drawn.

    Example:
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> y = (x[:, 0] > 0).astype(float)
        >>> tables = [ProbeTable(x, {"effusion": y}, [f"{side}{i}" for i in range(20)]) for side in "ab"]
        >>> few = fit_few_shot(*tables, shots=[1, 4], draws=3, seed=0)
        >>> few.scores([[-1.0], [1.0]])["effusion"][4].shape, few.fitted["effusion"][4].validation_auroc
        ((3, 2), 1.0)
    """
    features, held_out = checked_tables(train, validation)
    standard = standard_of(features)
    features, held_out = standard(features), standard(held_out)
    fitted: dict[str, dict[int, FewShotDraws]] = {}
    left_out: dict[str, dict[int, str]] = {}
    for name, labels in train.labels.items():
        for count in sorted(set(shots)):
            try:
                rows = [
                    draw_patients(labels, train.patients, shots=count, seed=seed, draw=d, name=name)
                    for d in range(draws)
                ]
            except DataError as error:
                left_out.setdefault(name, {})[count] = str(error)
                continue
            fitted.setdefault(name, {})[count] = _chosen(features, rows, held_out, validation.labels[name])
    if not fitted:
        raise DataError("No finding has enough training patients of both classes: ask for fewer shots or other labels.")
    return FewShot(standard, fitted, left_out)


def _chosen(
    features: FloatArray, rows: Sequence[NDArray[np.int64]], held_out: FloatArray, truth: FloatArray
) -> FewShotDraws:
    every = []
    for drawn in rows:
        target = np.repeat([False, True], drawn.shape[1])
        every.append(fit_classifiers(features[drawn.ravel()], target))
    known = np.isin(truth, (0.0, 1.0))
    scores = [np.stack([model(held_out[known]) for model in models]) for models in zip(*every, strict=True)]
    best, value = best_by_auroc(truth[known], scores)
    models = [fits[best] for fits in every]
    return FewShotDraws(
        weight=np.stack([model.weight for model in models]),
        bias=np.array([model.bias for model in models]),
        strength=models[0].strength,
        validation_auroc=value,
    )
