"""Linear probe: one logistic regression a finding on frozen features, its strength chosen on validation patients only.

Tables in, scores out. The same probe on 16 x 16 thumbnails is the control that says how much of a task is visible to no
model at all: brightness, framing, the look of a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.evaluation.linear_classifier import STRENGTHS, LinearClassifier, fit_classifiers, standard_of
from medvlp.evaluation.metrics import FloatArray, UndefinedMetricError, auroc

__all__ = [
    "LinearProbe",
    "ProbeData",
    "checked_features",
    "checked_table",
    "fit_linear_probe",
    "refuse_shared_patients",
    "thumbnails",
]


@dataclass(frozen=True, slots=True)
class ProbeData:
    """Features with labels and patients.

    Attributes:
        features: ``(N, D)`` finite.
        labels: ``(N, L)``: 1 present, 0 absent, -1 uncertain, NaN missing; the last two take no part.
        patients: N identifiers.
    """

    features: NDArray[np.floating]
    labels: FloatArray
    patients: Sequence[str]


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A fitted probe; findings that could not be fitted are absent from `names` and named in `left_out`.

    Attributes:
        names: L fitted findings.
        mean, scale: ``(D,)`` of the training features; features are ``(x - mean) / scale``.
        weight: ``(L, D)``.
        bias: ``(L,)``.
        strength: ``(L,)`` inverse regularisation C that validation chose.
        validation_auroc: ``(L,)`` with that C; NaN where validation has one class only and the middle C was taken.
        left_out: finding -> reason.
    """

    names: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    weight: FloatArray
    bias: FloatArray
    strength: FloatArray
    validation_auroc: FloatArray
    left_out: dict[str, str]

    def scores(self, features: ArrayLike) -> FloatArray:
        """Return the log-odds ``(N, L)`` of features ``(N, D)``.

        Raises:
            DataError: if the features have another width or are not finite.
        """
        return (checked_features(features, len(self.mean)) - self.mean) / self.scale @ self.weight.T + self.bias


def fit_linear_probe(
    train: ProbeData, validation: ProbeData, *, names: Sequence[str], strengths: Sequence[float] = STRENGTHS
) -> LinearProbe:
    """Fit one L2 logistic regression a finding and choose its C by AUROC on validation; the weakest C wins a tie.

    Args:
        train: data to fit on; its mean and standard deviation standardise everything.
        validation: data to choose C on; never the test patients.
        names: L findings, the columns of the labels.
        strengths: values of C to try.

    Raises:
        DataError: if shapes disagree, features are not finite, a patient is in both tables, or nothing can be fitted.

    Example:
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> y = (x > 0).astype(float)
        >>> probe = fit_linear_probe(ProbeData(x, y, ["a"] * 20), ProbeData(x, y, ["b"] * 20), names=["effusion"])
        >>> bool(probe.scores([[1.0]])[0, 0] > 0), probe.validation_auroc.tolist()
        (True, [1.0])
    """
    features = checked_table(train, names, "Training")
    held_out = checked_table(validation, names, "Validation")
    refuse_shared_patients(train, validation)
    standard = standard_of(features)
    features, held_out = standard(features), standard(held_out)
    fitted: dict[str, tuple[LinearClassifier, float]] = {}
    left_out: dict[str, str] = {}
    for column, name in enumerate(names):
        known = np.isin(train.labels[:, column], (0.0, 1.0))
        target = train.labels[known, column] == 1
        if not target.any() or target.all():
            left_out[name] = "no_positives" if not target.any() else "no_negatives"
            continue
        checked = np.isin(validation.labels[:, column], (0.0, 1.0))
        candidates = []
        for model in fit_classifiers(features[known], target, strengths=strengths):
            try:
                value = auroc(validation.labels[checked, column], model(held_out[checked]))
            except UndefinedMetricError:
                value = float("nan")
            candidates.append((model, value))
        values = np.array([value for _, value in candidates])
        fitted[name] = candidates[len(candidates) // 2 if np.isnan(values).any() else int(np.argmax(values))]
    if not fitted:
        raise DataError("No finding has both classes among the training rows: give more patients or other labels.")
    return LinearProbe(
        names=tuple(fitted),
        mean=standard.mean,
        scale=standard.scale,
        weight=np.stack([model.weight for model, _ in fitted.values()]),
        bias=np.array([model.bias for model, _ in fitted.values()]),
        strength=np.array([model.strength for model, _ in fitted.values()]),
        validation_auroc=np.array([value for _, value in fitted.values()]),
        left_out=left_out,
    )


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
    small = np.einsum("ih,nhw,jw->nij", rows, pixels.astype(np.float32, copy=False), columns, optimize=True)
    return small.reshape(len(pixels), size * size)


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


def checked_table(table: ProbeData, names: Sequence[str], what: str) -> FloatArray:
    """Return its features.

    Raises:
        DataError: if features, labels and patients do not fit together.
    """
    rows = checked_features(table.features, None)
    if table.labels.shape != (len(rows), len(names)) or len(table.patients) != len(rows):
        raise DataError(
            f"{what} has features {rows.shape}, labels {table.labels.shape} and {len(table.patients)} patients for "
            f"{len(names)} findings: give one row of each an image and one label column a finding."
        )
    return rows


def refuse_shared_patients(train: ProbeData, validation: ProbeData) -> None:
    """Refuse a patient in both.

    Raises:
        DataError: with their number.
    """
    shared = len({str(patient) for patient in train.patients} & {str(patient) for patient in validation.patients})
    if shared:
        raise DataError(f"{shared} patients are in training and validation: split by patient before probing.")
