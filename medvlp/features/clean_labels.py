"""How labels that may be wrong are cleaned, by the probability that the finding is present."""

from __future__ import annotations

import torch
from torch import Tensor


def clean_labels(labels: Tensor, probability: Tensor, *, keep: float, relabel: float) -> Tensor:
    """Keep, turn or drop labels by the probability that the finding is present.

    Args:
        labels: 1, 0 or NaN.
        probability: of 1, of the same shape.
        keep: smallest probability of a label that stays.
        relabel: smallest probability of the other label that takes its place.

    Example:
        >>> clean_labels(torch.ones(3), torch.tensor([0.5, 0.45, 0.4]), keep=0.5, relabel=0.6).tolist()
        [1.0, nan, 0.0]
    """
    own = torch.where(labels == 1, probability, 1 - probability)
    turned = torch.where(1 - own >= relabel, 1 - labels, torch.nan)
    return torch.where(own >= keep, labels, turned)
