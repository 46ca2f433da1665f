"""Dirichlet calibration of several classes that exclude each other (Kull et al., NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import logsumexp

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class DirichletMap:
    """``softmax(weight @ ln p + bias)``.

    Attributes:
        weight: ``(K, K)``.
        bias: ``(K,)``.
    """

    weight: FloatArray
    bias: FloatArray

    def probabilities(self, probabilities: ArrayLike) -> FloatArray:
        """Return calibrated probabilities ``(n, K)``.

        Raises:
            DataError: if a row is no distribution over K classes.
        """
        z = _logs(probabilities, len(self.bias)) @ self.weight.T + self.bias
        return np.exp(z - logsumexp(z, axis=1, keepdims=True))


def fit_dirichlet(probabilities: ArrayLike, classes: ArrayLike, *, off_diagonal: float = 1e-3) -> DirichletMap:
    """Fit the map on validation rows, off-diagonal weights and the bias held back by a square penalty (ODIR).

    Args:
        probabilities: ``(n, K)``, rows summing to 1.
        classes: ``(n,)`` true class, 0 to K - 1.
        off_diagonal: strength of both penalties; each is a mean over its entries.

    Raises:
        UndefinedMetricError: if a class has no row (reason ``"no_rows"``).
        DataError: if a row is no distribution, or a class is not 0 to K - 1.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> p = generator.dirichlet(np.ones(3), 3000)
        >>> y = [generator.choice(3, p=row) for row in p]
        >>> np.abs(fit_dirichlet(p, y).weight - np.eye(3)).max() < 0.2  # calibrated already: the map changes little
        np.True_
    """
    given = np.asarray(probabilities, dtype=np.float64)
    count = given.shape[1] if given.ndim == 2 else 0
    logs = _logs(given, count)
    truth = np.asarray(classes)
    if truth.shape != (len(logs),) or not np.isin(truth, np.arange(count)).all():
        raise DataError(f"Classes have shape {truth.shape}: give one of 0 to {count - 1} for each of {len(logs)} rows.")
    rows = np.bincount(truth.astype(np.int64), minlength=count)
    if (rows == 0).any():
        raise UndefinedMetricError(
            f"Class {int(np.argmin(rows))} has no validation row: leave it out or give rows of every class.",
            reason="no_rows",
        )
    hot = np.eye(count)[truth.astype(np.int64)]
    outside = ~np.eye(count, dtype=bool)

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        weight, bias = flat[: count * count].reshape(count, count), flat[count * count :]
        z = logs @ weight.T + bias
        log_probability = z - logsumexp(z, axis=1, keepdims=True)
        residual = (np.exp(log_probability) - hot) / len(logs)
        value = -float((hot * log_probability).sum()) / len(logs)
        value += off_diagonal * (float((weight[outside] ** 2).mean()) + float((bias**2).mean()))
        slope = residual.T @ logs + 2 * off_diagonal * np.where(outside, weight, 0.0) / outside.sum()
        return value, np.append(slope.ravel(), residual.sum(axis=0) + 2 * off_diagonal * bias / count)

    start = np.append(np.eye(count).ravel(), np.zeros(count))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 5000})
    return DirichletMap(found.x[: count * count].reshape(count, count), found.x[count * count :])


def _logs(probabilities: ArrayLike, count: int) -> FloatArray:
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != count or count < 2:
        raise DataError(f"Probabilities have shape {rows.shape}: give one row a case and one column for each class.")
    if not np.isfinite(rows).all() or (rows < 0).any() or np.abs(rows.sum(axis=1) - 1).max(initial=0.0) > 1e-6:
        raise DataError("Probabilities must be 0 or more and sum to 1 in each row: give a softmax output, not scores.")
    return np.log(np.maximum(rows, _LEAST))
