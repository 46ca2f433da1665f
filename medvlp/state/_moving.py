"""How labels that may be wrong are cleaned, and how prototypes follow their rows."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.encoded import unit


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


def moved(prototypes: Tensor, rows: Tensor, member: Tensor, *, momentum: float) -> Tensor:
    """Move each prototype by its rows, one after the other, and scale it to unit length.

    The loop mu <- m mu + (1 - m) z_i over n rows is m^n mu + (1 - m) sum_i m^(n - i) z_i.

    Args:
        prototypes: (L, C, D).
        rows: (R, D) in their order.
        member: bool (R, L, C), which rows move which prototype.
        momentum: m.

    Example:
        >>> start, rows = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 1.0]])
        >>> moved(start, rows, torch.ones(1, 1, 1, dtype=torch.bool), momentum=0.5).flatten().tolist()
        [0.7071067690849304, 0.7071067690849304]
    """
    weight, remaining = shares(member, momentum)
    mixed = remaining[:, :, None] * prototypes.double() + torch.einsum("rlc,rd->lcd", weight, rows.double())
    return torch.where(member.any(dim=0)[:, :, None], unit(mixed).to(prototypes.dtype), prototypes)


def shares(member: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Return each row's share of a moving average after all rows, (R, L, C), and that of what was before, (L, C)."""
    member = member.double()
    later = member.flip(0).cumsum(0).flip(0) - member  # (R, L, C) members after each row
    return (1 - momentum) * momentum**later * member, momentum ** member.sum(dim=0)


def distances(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return (R, L, C) of unit rows (R, D) and unit prototypes (L, C, D)."""
    return (2 - 2 * torch.einsum("rd,lcd->rlc", rows, prototypes.to(rows))).clamp(min=0).sqrt()
