"""Learn a bundle's gate from pictures of its own kind."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.models.gate import Gate, Space, describe

_RIDGE = 0.1  # of the mean variance: directions in which training pictures hardly differ say little of others
_LEAST_TRAINING = 100


def least_images(rate: float) -> tuple[int, int]:
    """Return how many training and validation pictures a gate of a rate needs."""
    return _LEAST_TRAINING, math.ceil(1 / rate - 1 - 1e-9)


def fit_gate(training: Iterable[Tensor], validation: Iterable[Tensor], *, rate: float = 0.02) -> Gate:
    """Return the gate that flags a share `rate` of pictures of the model's own kind.

    Mean and covariance (of standardised values, with a ridge) are of training pictures. Each description's distances
    are divided by their 1 - `rate` quantile over validation pictures; the limit of their maximum is its
    ceil((n + 1)(1 - rate))-th smallest value there (split conformal; Vovk et al. 2005). No odd picture is looked at.

    Args:
        training: (C, H, W) in [0, 1], as the model sees them; read once.
        validation: the same, of other patients; read once.
        rate: in (0, 0.5].

    Raises:
        DataError: if there are too few pictures for the rate, or the rate is none.
    """
    if not 0 < rate <= 0.5:
        raise DataError(f"The gate's rate is a share above 0 and at most 0.5, not {rate:g}: change it.")
    train, validate = _described(training), _described(validation)
    counts = _count(train), _count(validate)
    least = least_images(rate)
    if counts[0] < least[0] or counts[1] < least[1]:
        raise DataError(
            f"A gate with a rate of {rate:g} needs {least[0]} training and {least[1]} validation pictures, there are "
            f"{counts[0]} and {counts[1]}: give more, or a larger rate."
        )
    spaces = {name: _space(values) for name, values in train.items()}
    distances = {
        name: torch.linalg.vector_norm((validate[name] - space.mean) @ space.whiten.T, dim=1)
        for name, space in spaces.items()
    }
    usual = {name: float(values.quantile(1 - rate)) for name, values in distances.items()}
    largest = torch.stack([distances[name] / usual[name] for name in spaces]).amax(0)
    place = min(counts[1], math.ceil((counts[1] + 1) * (1 - rate) - 1e-9))
    limit = float(largest.sort().values[place - 1])
    limited = {name: Space(space.mean, space.whiten, usual[name] * limit) for name, space in spaces.items()}
    return Gate(limited, rate, counts)


def _described(images: Iterable[Tensor]) -> dict[str, Tensor]:
    rows = [describe(pixels) for pixels in images]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _count(described: dict[str, Tensor]) -> int:
    return len(next(iter(described.values()))) if described else 0


def _space(values: Tensor) -> Space:
    mean, deviation = values.mean(0), values.std(0)
    # A pixel that never changes (a black corner) counts as one that hardly does: were it to change, that is odd.
    deviation = deviation.clamp_min(float(deviation.max()) / 100 or 1.0)
    spread, directions = torch.linalg.eigh(torch.cov(((values - mean) / deviation).T))
    spread = spread.clamp_min(0)
    whiten = (directions / (spread + _RIDGE * spread.mean()).sqrt()).T / deviation
    return Space(mean, whiten, 1.0)
