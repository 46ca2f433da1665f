"""What probes share: thumbnails, which are the control of them all, and tables that fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.answers import ProbeTable
from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError, auroc

BOTH = "fitted on training and validation patients"
"""What the title of a probe says whose options validation patients chose, and that was then fitted on them too."""


def thumbnails(images: ArrayLike, size: int = 16) -> NDArray[np.float32]:
    """Return area-averaged thumbnails as feature rows ``(N, size * size)``.

    Args:
        images: ``(N, H, W)``, H and W at least `size`.
        size: edge of the thumbnail.

    Raises:
        DataError: if the images have another rank or are smaller than the thumbnail.

    Example:
        >>> thumbnails(np.arange(16.0).reshape(1, 4, 4), size=2).tolist()
        [[2.5, 4.5, 10.5, 12.5]]
    """
    pixels = np.asarray(images)
    if pixels.ndim != 3 or min(pixels.shape[1:]) < size:
        raise DataError(f"Images have shape {pixels.shape}: thumbnails need (N, H, W) with H and W at least {size}.")
    rows, columns = (_area_weights(length, size) for length in pixels.shape[1:])
    small = rows @ pixels.astype(np.float32, copy=False) @ columns.T
    return small.reshape(len(pixels), size * size).astype(np.float32, copy=False)


def _area_weights(length: int, size: int) -> NDArray[np.float32]:
    """Return ``(size, length)`` rows that average the pixels under each of `size` equal stretches, edges in part."""
    edges = np.linspace(0, length, size + 1)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, 1) * size / length).astype(np.float32)


def checked_features(features: ArrayLike, width: int | None) -> FloatArray:
    """Return features ``(N, D)`` in float64.

    Raises:
        DataError: if they have another width or are not finite.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        raise DataError(
            f"Features have shape {rows.shape}, expected (N, {width or 'D'}): use the encoder of the training."
        )
    if not np.isfinite(rows).all():
        raise DataError(f"Features hold {int((~np.isfinite(rows)).sum())} NaN or infinite values: mend the encoder.")
    return rows


def checked_tables(train: ProbeTable, validation: ProbeTable) -> tuple[FloatArray, FloatArray]:
    """Return the features of both, in float64.

    Raises:
        DataError: if features, labels and patients do not fit together, or a patient is in both.
    """
    found = []
    for what, table in (("Training", train), ("Validation", validation)):
        rows = checked_features(table.features, None)
        counts = {len(table.patients), *(len(values) for values in table.labels.values())}
        if counts != {len(rows)}:
            raise DataError(
                f"{what} has features {rows.shape}, {len(table.patients)} patients and labels of "
                f"{', '.join(f'{name} {len(values)}' for name, values in table.labels.items())} rows: give one row of "
                "each an image."
            )
        found.append(rows)
    missing = [name for name in train.labels if name not in validation.labels]
    if missing:
        raise DataError(f"Validation has no labels of {', '.join(missing)}: give both tables the same findings.")
    shared = len({str(patient) for patient in train.patients} & {str(patient) for patient in validation.patients})
    if shared:
        raise DataError(f"Patients in training and in validation: {shared}. Split by patient before probing.")
    return found[0], found[1]


def truth_of(label: str, labels: Mapping[str, ArrayLike], lengths: Iterable[int]) -> FloatArray:
    """Return the labels of a finding; none, or more or less than patients and each row of scores, are refused."""
    if label not in labels:
        raise DataError(f"There are scores of {label!r} and no labels: give both, or leave it out.")
    truth = np.asarray(labels[label], dtype=np.float64)
    if any(len(truth) != length for length in lengths):
        raise DataError(f"Scores, labels and patients of {label!r} have different lengths: give one each a row.")
    return truth


def both_tables(train: ProbeTable, validation: ProbeTable) -> ProbeTable:
    """Return the rows of both, for the fit that follows the choice.

    Example:
        >>> train = ProbeTable(np.zeros((1, 2)), {"edema": np.array([0])}, ["a"])
        >>> both_tables(train, ProbeTable(np.ones((1, 2)), {"edema": np.array([1])}, ["b"])).labels["edema"].tolist()
        [0.0, 1.0]
    """
    features = [checked_features(table.features, None) for table in (train, validation)]
    labels = {
        name: np.concatenate([np.asarray(table.labels[name], np.float64) for table in (train, validation)])
        for name in train.labels
    }
    return ProbeTable(np.concatenate(features), labels, [*train.patients, *validation.patients])


def best_by_auroc(labels: ArrayLike, candidates: Sequence[FloatArray]) -> tuple[int, float]:
    """Return which candidate's scores have the highest AUROC, the first of equal ones, and that.

    Args:
        labels: ``(N,)`` of validation: 1 present, 0 absent; others take no part.
        candidates: scores ``(N,)`` of each, or ``(draws, N)``, whose mean AUROC counts.

    Returns:
        The middle one and NaN where there are no rows of both classes.

    Example:
        >>> best_by_auroc([0, 1, -1], [np.array([0.9, 0.1, 0.0]), np.array([0.1, 0.9, 0.0])])
        (1, 1.0)
    """
    truth = np.asarray(labels, dtype=np.float64)
    known = np.isin(truth, (0.0, 1.0))
    try:
        values = [
            float(np.mean([auroc(truth[known], row[known]) for row in np.atleast_2d(scores)])) for scores in candidates
        ]
    except UndefinedMetricError:
        return len(candidates) // 2, float("nan")
    best = int(np.argmax(values))
    return best, values[best]
