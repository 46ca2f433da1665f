"""Linear probe: logistic regressions on frozen features, their strengths chosen on validation patients.

With the strength that was chosen a probe is fitted once more on training and validation patients together. Its scores
of validation patients are then those of patients that it has seen: no threshold and no calibration may be chosen on
them, and none is; whoever needs one sets `refit` to false, or holds further patients out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from medvlp.core.answers import FEATURES, Answer, Ask, ProbeTable, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.evaluation.linear_classifier import STRENGTHS, LinearClassifier, Standard, fit_classifiers, standard_of
from medvlp.evaluation.probe_tables import BOTH, best_by_auroc, both_tables, checked_features, checked_tables

__all__ = ["Linear", "LinearProbe"]


class LinearProbe(Answer):
    """Log-odds of findings: ``(x - mean) / scale @ weight + bias`` of features x.

    Args:
        fitted: finding -> classifier on standardised features.
        standard: of the training features.
        validation_auroc: by finding, with the strength that was chosen; NaN where validation has one class only and the
            middle one was taken.
        left_out: finding -> why there is none.
        refitted: whether validation patients are among those it was fitted on.

    Example:
        >>> standard = Standard(np.zeros(2), np.ones(2))
        >>> probe = LinearProbe({"edema": LinearClassifier(np.array([1.0, -1.0]), 0.5, 1.0)}, standard, {}, {})
        >>> probe.log_odds(np.array([[2.0, 1.0]])).tolist()
        [[1.5]]
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __init__(
        self,
        fitted: Mapping[str, LinearClassifier],
        standard: Standard,
        validation_auroc: Mapping[str, float],
        left_out: Mapping[str, str],
        *,
        refitted: bool = False,
    ) -> None:
        self.fitted, self.standard, self.refitted = fitted, standard, refitted
        self.validation_auroc, self.left_out = validation_auroc, left_out
        self.labels = tuple(fitted)
        self.title = f"Linear probe, {BOTH}" if refitted else "Linear probe"

    def needs(self, model: Model) -> frozenset[Key]:
        """The features."""
        return keys(FEATURES)

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Return (N, L) of features (N, D).

        Raises:
            DataError: if they have another width than those it was fitted on, or are not finite.
        """
        weight = np.stack([each.weight for each in self.fitted.values()])
        bias = np.array([each.bias for each in self.fitted.values()])
        return self.standard(checked_features(features, len(self.standard.mean))) @ weight.T + bias

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Return the log-odds of all findings, or of those asked for."""
        found = self.log_odds(rows.table[FEATURES])
        wanted = ask.findings or self.labels
        scores = {label: found[:, i] for i, label in enumerate(self.labels) if label in wanted}
        told = tuple(f"No linear probe of {label}: {reason} in training." for label, reason in self.left_out.items())
        return Predictions(tuple(rows.table.ids), scores=scores, notes=told)


class Linear:
    """One L2 logistic regression a finding; its strength is chosen by AUROC on validation, the weakest C wins a tie.

    Features are standardised by the rows that are fitted. A finding of one class in training is left out, by name and
    reason.

    Args:
        strengths: inverse regularisations C to try.
        refit: whether each regression is fitted again with its strength on training and validation rows together.

    Raises:
        ConfigError: for no strength, or one that is not above 0.

    Example:
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> tables = [ProbeTable(x, {"effusion": (x[:, 0] > 0).astype(float)}, [who] * 20) for who in "ab"]
        >>> probe = Linear().fit(*tables, bank={})
        >>> bool(probe.log_odds(np.array([[1.0]]))[0, 0] > 0), probe.validation_auroc
        (True, {'effusion': 1.0})
    """

    def __init__(self, *, strengths: tuple[float, ...] = STRENGTHS, refit: bool = True) -> None:
        if not strengths or min(strengths) <= 0:
            raise ConfigError(f"The strengths of a linear probe are {list(strengths)}: give some above 0.")
        self.strengths, self.refit = strengths, refit

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> LinearProbe:
        """Fit on `train`, choose the strengths on `validation`, fit on both; `bank` is not looked at.

        Raises:
            DataError: if the tables do not fit together, features are not finite, a patient is in both, or nothing can
                be fitted.
        """
        features, held_out = checked_tables(train, validation)
        standard = standard_of(features)
        features, held_out = standard(features), standard(held_out)
        fitted: dict[str, LinearClassifier] = {}
        aurocs: dict[str, float] = {}
        left_out: dict[str, str] = {}
        for name, labels in train.labels.items():
            known = np.isin(labels, (0.0, 1.0))
            target = labels[known] == 1
            if not target.any() or target.all():
                left_out[name] = "no_positives" if not target.any() else "no_negatives"
                continue
            candidates = fit_classifiers(features[known], target, strengths=self.strengths)
            best, value = best_by_auroc(validation.labels[name], [model(held_out) for model in candidates])
            fitted[name], aurocs[name] = candidates[best], value
        if not fitted:
            raise DataError("No finding has both classes among the training rows: give more patients or other labels.")
        if self.refit:
            fitted, standard = _refitted(fitted, both_tables(train, validation))
        return LinearProbe(fitted, standard, aurocs, left_out, refitted=self.refit)


def _refitted(chosen: Mapping[str, LinearClassifier], both: ProbeTable) -> tuple[dict[str, LinearClassifier], Standard]:
    """Fit each finding on all rows with the strength that was chosen for it."""
    rows = checked_features(both.features, None)
    standard = standard_of(rows)
    rows, fitted = standard(rows), {}
    for name, classifier in chosen.items():
        known = np.isin(both.labels[name], (0.0, 1.0))
        (fitted[name],) = fit_classifiers(rows[known], both.labels[name][known] == 1, strengths=[classifier.strength])
    return fitted, standard
