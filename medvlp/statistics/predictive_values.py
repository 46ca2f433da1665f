"""Predictive values at a stated prevalence: test sets are enriched, clinics are not.

``PPV = sens pi / (sens pi + (1 - spec) (1 - pi))`` and ``NPV = spec (1 - pi) / (spec (1 - pi) + (1 - sens) pi)``, with
intervals on the log-odds scale (Mercaldo, Lau and Zhou, Statistics in Medicine 2007). Patients with several images
count by their effective number (`proportions`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import Interval
from medvlp.statistics.proportions import Share


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """PPV and NPV at a prevalence; None where nothing, or everything, is called."""

    ppv: float | None
    npv: float | None
    ppv_interval: Interval
    npv_interval: Interval


def predictive_values(
    sensitivity: Share, specificity: Share, *, prevalence: float, level: float = 0.95
) -> PredictiveValues:
    """Return the predictive values where `prevalence` of the cases are positive.

    Args:
        sensitivity: share of the positives called.
        specificity: share of the negatives not called.
        prevalence: above 0 and below 1.
        level: of the intervals.

    Raises:
        DataError: if the prevalence is not between 0 and 1.

    Example:
        >>> from medvlp.statistics.proportions import Share
        >>> found = predictive_values(Share(0.9, 100, 100, 100.0), Share(0.95, 400, 400, 400.0), prevalence=0.05)
        >>> round(found.ppv, 3), round(found.ppv_interval.low, 3), round(found.ppv_interval.high, 3)
        (0.486, 0.381, 0.593)
    """
    if not 0 < prevalence < 1:
        raise DataError(f"A prevalence of {prevalence:g} has no predictive values: give a share between 0 and 1.")
    if sensitivity.value is None or specificity.value is None:
        nothing = Interval(None, None, 0, 0)
        return PredictiveValues(None, None, nothing, nothing)
    sens, spec = sensitivity.value, specificity.value
    called = sens * prevalence + (1 - spec) * (1 - prevalence)
    left = spec * (1 - prevalence) + (1 - sens) * prevalence
    z = float(ndtri((1 + level) / 2))
    odds = np.log(prevalence / (1 - prevalence))
    # At 0 or 1 the logit has no variance: z^2 / 2 successes and failures are added, as for an Agresti-Coull interval.
    soft_sens, sens_n = _softened(sensitivity, z)
    soft_spec, spec_n = _softened(specificity, z)
    ppv_logit = np.log(soft_sens / (1 - soft_spec)) + odds
    ppv_error = np.sqrt((1 - soft_sens) / (soft_sens * sens_n) + soft_spec / ((1 - soft_spec) * spec_n))
    npv_logit = np.log(soft_spec / (1 - soft_sens)) - odds
    npv_error = np.sqrt(soft_sens / ((1 - soft_sens) * sens_n) + (1 - soft_spec) / (soft_spec * spec_n))
    ppv = sens * prevalence / called if called > 0 else None
    npv = spec * (1 - prevalence) / left if left > 0 else None
    return PredictiveValues(
        ppv=ppv,
        npv=npv,
        ppv_interval=_around(ppv_logit, z * ppv_error, ppv),
        npv_interval=_around(npv_logit, z * npv_error, npv),
    )


def _softened(share: Share, z: float) -> tuple[float, float]:
    assert share.value is not None, "the caller has looked"
    if 0 < share.value < 1:
        return share.value, share.effective
    n = share.effective + z * z
    return (share.value * share.effective + z * z / 2) / n, n


def _around(centre: float, reach: float, value: float | None) -> Interval:
    """Return the interval, none without a value; it reaches a value of 0 or 1, as Wilson's does."""
    if value is None:
        return Interval(None, None, 0, 0)
    return Interval(min(float(expit(centre - reach)), value), max(float(expit(centre + reach)), value), 0, 0)
