"""The rules of PE-Net (Zheng et al. 2023) for prototypes of predicates: unlike, apart, and each nearest to its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import unit


def alike(prototypes: Tensor) -> Tensor:
    """Return (1 / K^2) sum of the lengths of the rows of S: 1 / K of orthogonal, 1 / sqrt(K) of equal prototypes.

    Example:
        >>> round(float(alike(torch.eye(4))), 4), round(float(alike(torch.ones(4, 3))), 4)
        (0.25, 0.5)
    """
    own = unit(prototypes)
    return (own @ own.detach().T).norm(dim=1).sum() / len(own) ** 2


def apart(prototypes: Tensor, distance: float) -> Tensor:
    """Return the mean of what each lacks to a squared distance from its nearest other, which has no gradient of it.

    Example:
        >>> apart(torch.tensor([[0.0], [2.0], [9.0]]), 7.0).item()  # 3, 3 and nothing
        2.0
    """
    squared = (prototypes[:, None] - prototypes.detach()[None]).square().sum(2)
    eye = torch.eye(len(prototypes), dtype=torch.bool, device=prototypes.device)
    return (distance - squared.masked_fill(eye, float("inf")).amin(dim=1)).clamp(min=0).mean()


def beyond(vectors: Tensor, prototypes: Tensor, target: Tensor, *, nearest: int) -> Tensor:
    """Return (n,) max(0, own squared distance - mean of the nearest wrong ones + 1).

    Example:
        >>> beyond(torch.tensor([[1.0]]), torch.tensor([[1.0], [1.5], [4.0]]), torch.tensor([0]), nearest=1).item()
        0.75
    """
    squared = (vectors[:, None] - prototypes[None]).square().sum(2)
    own = F.one_hot(target, len(prototypes)).bool()
    wrong = squared.masked_fill(own, float("inf")).sort(dim=1).values[:, : min(nearest, len(prototypes) - 1)]
    return (squared.gather(1, target[:, None])[:, 0] - wrong.mean(dim=1) + 1).clamp(min=0)
