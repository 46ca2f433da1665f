"""How far probabilities are from what happens: binned error without its bias, and an error without bins.

The usual expected calibration error is the mean over bins of |observed share - mean probability|. Chance alone makes
each bin differ, so a perfect model has an error above 0, the more so the fewer rows. What chance adds to a bin is
``E|N(r, v)| - |r|`` for a true residual r and variance v, and is taken off (Kumar, Liang and Ma, NeurIPS 2019). At the
observed residuals, which hold that chance already, the sum is less than half of it; here they are first shrunk
together, by the share of their squares that chance does not explain. v is the variance between patients, not images.
The smooth error (Blasiok and Nakkiran, ICLR 2024) replaces bins by a kernel
whose width equals the error that it finds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct, idct
from scipy.special import ndtr

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.probability_metrics import checked_rows

_GRID = 4096


def equal_mass_bins(probabilities: FloatArray, bins: int) -> NDArray[np.int64]:
    """Return the bin of each row, ``(n,)``: as many rows in each as can be, equal probabilities never parted.

    Example:
        >>> equal_mass_bins(np.array([0.1, 0.2, 0.2, 0.2, 0.9, 0.95]), 3).tolist()
        [0, 0, 0, 0, 1, 1]
    """
    if bins < 1:
        raise DataError(f"{bins} bins hold nothing: give 1 or more (15 are usual).")
    order = np.argsort(probabilities, kind="stable")
    ascending = probabilities[order]
    # A row's bin is that of the first row with its probability.
    first = np.searchsorted(ascending, ascending)
    wanted = first * bins // max(len(ascending), 1)
    out = np.empty(len(ascending), np.int64)
    out[order] = np.unique(wanted, return_inverse=True)[1]
    return out


def residual_variance(residual: FloatArray, place: NDArray[np.int64], patient: NDArray[np.int64]) -> FloatArray:
    """Return the variance of each bin's mean residual, ``(B,)``, over the patients in it; 0 where there is only one.

    Args:
        residual: ``(n,)`` label less probability.
        place: ``(n,)`` bin from 0, none empty.
        patient: ``(n,)`` codes.
    """
    rows = np.bincount(place)
    mean = np.bincount(place, weights=residual) / rows
    pair, which = np.unique(place * (int(patient.max()) + 1) + patient, return_inverse=True)
    sums = np.bincount(which, weights=residual - mean[place])
    bin_of = pair // (int(patient.max()) + 1)
    patients = np.bincount(bin_of)
    total = np.bincount(bin_of, weights=sums**2)
    return np.where(patients > 1, patients / np.maximum(patients - 1, 1), 0.0) * total / rows**2


def expected_calibration_error(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    bins: int = 15,
    corrected: bool = True,
) -> float:
    """Return the calibration error over bins of equal mass.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1].
        patients: ``(n,)`` identifiers; None where every row is its own patient.
        bins: wanted; ties may leave fewer.
        corrected: take off what chance adds; a result below 0 is 0.

    Raises:
        UndefinedMetricError: if there are no rows.
        DataError: if labels are not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> generator = np.random.default_rng(0)
        >>> p = generator.random(500)
        >>> y = generator.random(500) < p
        >>> round(expected_calibration_error(y, p, corrected=False), 3), round(expected_calibration_error(y, p), 3)
        (0.048, 0.0)
    """
    truth, values = checked_rows(labels, probabilities, "A calibration error")
    place = equal_mass_bins(values, bins)
    residual = truth - values
    rows = np.bincount(place)
    mean = np.abs(np.bincount(place, weights=residual) / rows)
    if corrected:
        code = np.arange(len(truth)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
        spread = np.sqrt(residual_variance(residual, place, code))
        square = float(rows @ mean**2)
        true = mean * np.sqrt(max(0.0, square - float(rows @ spread**2)) / square) if square > 0 else mean
        mean = mean - (_folded_normal_mean(true, spread) - true)
    return max(0.0, float(rows @ mean / len(truth)))


def _folded_normal_mean(mean: FloatArray, spread: FloatArray) -> FloatArray:
    """Return E|N(mean, spread^2)|."""
    ratio = mean / np.where(spread > 0, spread, np.inf)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * (1 - 2 * ndtr(-ratio))
    return np.where(spread > 0, folded, mean)


def smooth_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the smooth calibration error: s with ``int |smoothed residual at width s| = s``.

    The kernel is a Gaussian reflected at 0 and 1; on a grid it is a product with ``exp(-(pi k s)^2 / 2)`` in cosine
    space, which costs no more than two fast transforms.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1].

    Raises:
        UndefinedMetricError: if there are no rows.
        DataError: if labels are not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> round(smooth_calibration_error([0, 1] * 50, [0.8] * 100), 2)
        0.3
    """
    truth, values = checked_rows(labels, probabilities, "A calibration error")
    cell, share = smoothing_grid(values, _GRID)
    residual = (truth - values) / len(truth)
    mass: FloatArray = np.bincount(cell, weights=residual * (1 - share), minlength=_GRID).astype(np.float64)
    mass += np.bincount(np.minimum(cell + 1, _GRID - 1), weights=residual * share, minlength=_GRID)
    return float(smooth_errors(mass[:, None])[0])


def smoothing_grid(probabilities: FloatArray, cells: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return for each row the lower of two cells that share its mass, and the share of the next one."""
    place = np.clip(probabilities * cells - 0.5, 0, cells - 1)
    cell = np.floor(place).astype(np.int64)
    return cell, place - cell


def smooth_errors(mass: NDArray[np.floating[Any]], *, steps: int = 16) -> FloatArray:
    """Return the smooth error of residual masses on the grid, ``(cells, B)`` to ``(B,)``.

    The integral less the width falls with the width; its zero is found by the Illinois form of false position (Dowell
    and Jarratt, BIT 1971): 9 steps find it to 1e-5, the default to rounding.
    """
    waves = dct(mass, axis=0, type=2, norm="ortho")
    frequency = ((np.pi * np.arange(len(mass)))[:, None] ** 2 / 2).astype(mass.dtype)
    low, high = np.zeros_like(mass[0]), np.ones_like(mass[0])
    # What rounding loses anyhow is 0: numbers too small for the usual form make the transform three times as slow.
    least = 0.7 * float(np.log(np.finfo(mass.dtype).tiny))
    width = low
    over, under = np.abs(mass).sum(axis=0), np.abs(mass.sum(axis=0)) - 1
    was_over = was_under = np.zeros(mass.shape[1], np.bool_)
    for _ in range(steps):
        gap = np.where(over > under, over - under, 1)  # both are 0 where there is no residual at all
        width = (high * over - low * under) / gap
        decay = -frequency * width**2
        smoothed = idct(waves * np.exp(np.where(decay < least, -np.inf, decay)), axis=0, type=2, norm="ortho")
        excess = np.abs(smoothed).sum(axis=0) - width
        is_over = excess > 0
        # An end that stays twice counts half, so that the other one moves too.
        over = np.where(is_over, excess, np.where(was_under, over / 2, over))
        under = np.where(is_over, np.where(was_over, under / 2, under), excess)
        low, high = np.where(is_over, width, low), np.where(is_over, high, width)
        was_over, was_under = is_over, ~is_over
    return width.astype(np.float64)
