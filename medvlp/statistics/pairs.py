"""Shares over pairs of patients: a patient who takes part in several pairs makes them alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from medvlp.statistics.proportions import Share


def share_of_pairs(success: ArrayLike, first: ArrayLike, second: ArrayLike) -> Share:
    r"""Return a share over pairs, with the number of independent pairs that it is worth.

    The variance is the dyadic one: V = (P' / (P' - 1)) / n^2 sum over pairs p, q that share a patient of e_p e_q, with
    e the success less the share and P' = P / 2, the pairs that P patients can make without sharing. The effective
    number is that of `share_of`, share (1 - share) / V, at most n, corrected for the few patients that V rests on;
    where all or none succeed, or V is not positive, it is the smaller of n and P'.

    Args:
        success: ``(n,)`` booleans.
        first: ``(n,)`` integer codes of one patient of each pair, from 0.
        second: ``(n,)`` codes of the other, of the same numbering.

    References:
        Fafchamps and Gubert 2007; Aronow, Samii and Assenova 2015. The factor of P' for few patients is ours.

    Example:
        >>> share_of_pairs([True, False], [0, 2], [1, 3]).effective
        2.0
        >>> round(share_of_pairs([True, True, False, False], [0, 0, 3, 3], [1, 2, 4, 5]).effective, 2)
        0.73
    """
    hit = np.asarray(success, dtype=np.float64)
    who = np.sort(np.stack([np.asarray(first, np.int64), np.asarray(second, np.int64)], axis=1), axis=1)
    n = len(hit)
    if not n:
        return Share(None, 0, 0, 0.0)
    rows = np.bincount(who.ravel())
    patients, value = int((rows > 0).sum()), float(hit.mean())
    apart = max(1.0, patients / 2)
    if rows.max() == 1:
        return Share(value, n, patients, float(n))
    if value in (0.0, 1.0) or apart <= 1:
        return Share(value, n, patients, float(min(n, apart)))
    residual = hit - value
    of_patient = np.bincount(who[:, 0], weights=residual, minlength=len(rows))
    of_patient += np.bincount(who[:, 1], weights=residual, minlength=len(rows))
    _, dyad = np.unique(who, axis=0, return_inverse=True)  # pairs that share both are in that sum twice
    of_dyad = np.bincount(dyad.ravel(), weights=residual)
    variance = apart / (apart - 1) * float(of_patient @ of_patient - of_dyad @ of_dyad) / n**2
    independent = min(n, apart) if variance <= 0 else min(n, value * (1 - value) / variance)
    tail = 0.975  # of the interval that the effective number is for
    correction = 1.0 if n - 1 <= apart - 1 else (float(stdtrit(n - 1, tail)) / float(stdtrit(apart - 1, tail))) ** 2
    return Share(value, n, patients, float(independent * correction))
