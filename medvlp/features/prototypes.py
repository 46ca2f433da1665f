"""Prototypes of classes: means of rows that further rows move, how widely these lie, and labels cleaned by them.

Findings occur together, so that each of L findings has C = 2 classes of its own: absent and present.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.encoded import unit

LEAST_TEMPERATURE = 0.02  # of a prototype whose rows all lie on it


def members(labels: Tensor) -> Tensor:
    """Return which rows are of which class by labels (R, L), bool (R, L, 2); uncertain and missing ones are of none.

    Example:
        >>> members(torch.tensor([[0.0], [1.0], [-1.0], [torch.nan]])).int().tolist()
        [[[1, 0]], [[0, 1]], [[0, 0]], [[0, 0]]]
    """
    return torch.stack([labels == 0, labels == 1], dim=2)


def class_means(rows: Tensor, member: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the mean row of each class over all processes, (L, C, D) float64, and how many rows it has, (L, C).

    `rows` (R, D) float64 and `member`, bool (R, L, C), are this process's; sums travel on `device`.
    """
    sums = collectives.total(torch.einsum("nd,nlc->lcd", rows, member.double()).to(device))
    counts = collectives.total(member.sum(dim=0).to(device))
    return sums / counts.clamp(min=1)[:, :, None], counts


def mean_distances(rows: Tensor, member: Tensor, prototypes: Tensor, counts: Tensor) -> Tensor:
    """Return the mean distance of each class's rows, `counts` (L, C) over all processes, from its prototype, (L, C)."""
    device = prototypes.device
    far = torch.where(member, distances(rows.to(device), prototypes).cpu(), 0.0)
    return collectives.total(far.sum(dim=0).to(device)) / counts.clamp(min=1)


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
    # Counted in whole numbers: of others torch has no running sums on CUDA that repeat bit for bit.
    later = (member.flip(0).cumsum(0).flip(0) - member.long()).double()  # (R, L, C) members after each row
    member = member.double()
    return (1 - momentum) * momentum**later * member, momentum ** member.sum(dim=0)


def distances(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return (R, L, C) of unit rows (R, D) and unit prototypes (L, C, D)."""
    return (2 - 2 * torch.einsum("rd,lcd->rlc", rows, prototypes.to(rows))).clamp(min=0).sqrt()


def densities(distance: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Return the temperature of each prototype, (L, C): d / log(n + 10), d the mean distance of its n rows.

    A prototype about which rows lie widely is compared softly (Li et al. 2021, PCL, eq. 12). At least 0.02, and 0.1
    of no row or of one alone, which has no weight: nobody knows how widely others will lie. `distance` is the sum of
    distances by their weights, `weight` that of weights.

    Example:
        >>> densities(torch.tensor([2.4, 0.0]), torch.tensor([2.0, 0.0]), torch.tensor([10, 0]))  # 1.2 / ln 20
        tensor([0.4006, 0.1000])
    """
    mean = distance / weight.clamp(min=1e-12)
    found = (mean / (counts.to(mean) + 10).log()).clamp(min=LEAST_TEMPERATURE)
    return torch.where(weight > 0, found, 0.1)


def clean_labels(labels: Tensor, probability: Tensor, *, keep: float, relabel: float) -> Tensor:
    """Keep, turn or drop labels by the probability that the finding is present.

    Args:
        labels: 1, 0 or NaN.
        probability: of 1, of the same shape.
        keep: smallest probability of a label that stays; below 1/2 one stays only if the other has not `relabel`.
        relabel: smallest probability of the other label that takes its place.

    Example:
        >>> clean_labels(torch.ones(3), torch.tensor([0.5, 0.45, 0.4]), keep=0.5, relabel=0.6).tolist()
        [1.0, nan, 0.0]
    """
    own = torch.where(labels == 1, probability, 1 - probability)
    stays = torch.where(own >= keep, labels, torch.nan)
    return torch.where((own < max(keep, 0.5)) & (1 - own >= relabel), 1 - labels, stays)
