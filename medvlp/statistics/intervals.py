"""Three intervals from the draws of one bootstrap: percentile, BCa and logit.

Percentile: the quantiles of the draws. BCa (Efron 1987): the quantiles moved for the draws' bias and skewness, with the
acceleration from the patients' influences. Logit: the estimate and the draws' standard deviation, carried to the
log-odds scale and back, for numbers between 0 and 1: it cannot leave the range and is skewed as such numbers are. With
m patients in the smaller class the deviation is that of a resample of m, which lacks a factor m / (m - 1), and was
estimated from m, so Student's quantile takes the normal one's place.

The default was chosen by simulation (`tests/benchmarks/interval_coverage.py`: 4,000 binormal cohorts of 160 patients
with 1 to 8 images, 500 resamples). Nominal 95 % intervals held the truth in this many per cent:

===================  ==========  ====  =====  ================
positive patients    percentile  BCa   logit  images resampled
===================  ==========  ====  =====  ================
AUROC, 60 to 90      94.1        94.8  95.3   69.1
AUROC, 12 to 30      91.1        92.0  94.2   68.0
AP, 60 to 90         92.9        93.4  94.0   66.2
AP, 12 to 30         92.6        92.2  94.3   67.2
===================  ==========  ====  =====  ================

Of numbers at a threshold and of probabilities (1,000 cohorts, 200 resamples; of MCC the logit of (1 + MCC) / 2):

===================  ==========  =====
positive patients    percentile  logit
===================  ==========  =====
F1, 60 to 90         92.8        94.0
MCC, 60 to 90        93.5        94.3
Brier, 60 to 90      93.0        94.4
F1, 12 to 30         91.3        95.5
MCC, 12 to 30        92.0        95.3
Brier, 12 to 30      91.0        95.0
===================  ==========  =====
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

from medvlp.core.errors import ConfigError
from medvlp.statistics.bootstrap import Interval, percentile_interval
from medvlp.statistics.metrics import FloatArray

Form = Literal["percentile", "bca", "logit"]
DEFAULT_FORM: Form = "logit"


def check_form(form: str) -> Form:
    """Return the name of an interval's form.

    Raises:
        ConfigError: if there is none of that name.
    """
    for known in get_args(Form):
        if form == known:
            return known
    raise ConfigError(f"There is no interval {form!r}: choose one of {', '.join(get_args(Form))}.")


def bca_interval(draws: FloatArray, *, value: float, acceleration: float, level: float = 0.95) -> Interval:
    """Return the bias-corrected and accelerated interval; draws equal to the estimate count half below it.

    Where all draws lie on one side of the estimate there is no such correction: it is the percentile interval then.

    Example:
        >>> draws = np.arange(101.0)
        >>> bca_interval(draws, value=50.0, acceleration=0.0, level=0.5)
        Interval(low=25.0, high=75.0, used=101, skipped=0)
    """
    plain = percentile_interval(draws, level=level)
    if plain.low is None:
        return plain
    defined = draws[~np.isnan(draws)]
    below = float((defined < value).mean() + 0.5 * (defined == value).mean())
    if not 0 < below < 1:
        return plain
    bias = ndtri(below)
    moved = bias + np.array([-1.0, 1.0]) * ndtri((1 + level) / 2)
    places = ndtr(bias + moved / np.maximum(1 - acceleration * moved, 1e-9))
    low, high = np.quantile(defined, places)
    return Interval(float(low), float(high), plain.used, plain.skipped)


def logit_interval(draws: FloatArray, *, value: float, level: float = 0.95, patients: int | None = None) -> Interval:
    """Return ``expit(logit(value) -+ t sd / (value (1 - value)))``; at 0, 1 or without spread it is the percentile one.

    Args:
        draws: ``(resamples,)``, NaN where the statistic is not defined.
        value: the estimate.
        patients: in the smaller class, 2 or more; None takes them for many.

    Example:
        >>> found = logit_interval(np.linspace(0.7, 0.9, 41), value=0.8)
        >>> round(found.low, 3), round(found.high, 3)
        (0.658, 0.893)
    """
    plain = percentile_interval(draws, level=level)
    if plain.low is None or not 0 < value < 1:
        return plain
    reach = float(np.nanstd(draws, ddof=1)) / (value * (1 - value))
    if patients is None or patients < 2:
        reach *= float(ndtri((1 + level) / 2))
    else:
        reach *= float(stdtrit(patients - 1, (1 + level) / 2)) * np.sqrt(patients / (patients - 1))
    centre = float(logit(value))
    return Interval(float(expit(centre - reach)), float(expit(centre + reach)), plain.used, plain.skipped)


def recentred_interval(draws: FloatArray, *, value: float, level: float = 0.95) -> Interval:
    """Return the percentile interval moved so that the draws' mean lies on the estimate, cut off at 0 if that is not.

    For errors of calibration: resampling adds noise to each bin, which an absolute value turns into bias, so the draws
    lie too high by about what the estimate was corrected for. Likewise for the length of a mean vector, and for means
    over pairs, of which a patient drawn twice has more among his own rows.

    Example:
        >>> recentred_interval(np.array([1.0, 2.0, 3.0]), value=0.5, level=0.5)
        Interval(low=0.0, high=1.0, used=3, skipped=0)
    """
    plain = percentile_interval(draws, level=level)
    if plain.low is None or plain.high is None:
        return plain
    shift, least = value - float(np.nanmean(draws)), 0.0 if value >= 0 else -np.inf
    return Interval(max(least, plain.low + shift), max(least, plain.high + shift), plain.used, plain.skipped)
